# What find_package(rtai) reads.
include(CMakeFindDependencyMacro)
find_dependency(Threads)
find_dependency(tl-expected)
if(EXISTS ${CMAKE_CURRENT_LIST_DIR}/rtai-with-cuda.cmake)
  find_dependency(CUDAToolkit)
endif()
include(${CMAKE_CURRENT_LIST_DIR}/rtai-targets.cmake)
