// Some memory held back for when there is none.
#pragma once

namespace rtai::tools {

/// From now on, when operator new finds no memory the reserve is given up and it tries again,
/// before it throws. What ends then has something to end with: JSON values need memory to be
/// destroyed, and destructors cannot fail. Called again, it fills the reserve anew if there is
/// memory.
void hold_memory_reserve();

}  // namespace rtai::tools
