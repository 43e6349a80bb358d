// The address sanitizer's allocator in a child of a process whose other threads allocate.
#pragma once

namespace sapwood::test {

/// False where a child may wait for ever for a lock of the allocator's that another thread of its
/// parent's held at the fork. Of the address sanitizers of gcc 12 and clang 16 none holds its locks
/// in fork() (LLVM's do since 17); that of clang is linked into the program, which does it here.
[[nodiscard]] bool children_can_allocate() noexcept;

} // namespace sapwood::test
