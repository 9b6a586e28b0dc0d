// The headers of tests/CMakeLists.txt, parsed once, belong to a target that has a source using them: this one.
