// A stack for this thread's signal handlers, so that they run where it has overflowed its own. Not
// where the thread has one already, and quietly not where there is no memory. One thread.
#pragma once

#include <cstddef>

namespace sapwood::detail {

class alternate_stack {
  public:
    alternate_stack() noexcept;
    alternate_stack(const alternate_stack&) = delete;
    alternate_stack& operator=(const alternate_stack&) = delete;
    ~alternate_stack();

  private:
    void* memory_ = nullptr;
    std::size_t bytes_ = 0;
};

} // namespace sapwood::detail
