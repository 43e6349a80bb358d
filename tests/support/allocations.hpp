// The test program's operator new, which counts, and fails when it is told to.
#pragma once

#include <cstddef>

namespace sapwood::test {

/// What this thread has asked operator new for so far.
[[nodiscard]] std::size_t allocations() noexcept;

/// What all threads have allocated with operator new and not freed.
[[nodiscard]] std::ptrdiff_t allocations_alive() noexcept;

/// While it exists, this thread's `nth` call of operator new (the first is 1) and all later ones
/// throw std::bad_alloc.
class failing_allocations {
  public:
    explicit failing_allocations(std::size_t nth) noexcept;
    failing_allocations(const failing_allocations&) = delete;
    failing_allocations& operator=(const failing_allocations&) = delete;
    ~failing_allocations();

    /// Whether one has failed.
    [[nodiscard]] bool struck() const noexcept;
};

} // namespace sapwood::test
