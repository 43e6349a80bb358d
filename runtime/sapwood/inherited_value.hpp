// What a task hands down to the tasks it starts: its name and the values of task_locals. A value is
// a pooled block that is never changed once others share it, and is counted, not copied: spawning
// costs a look at two pointers where there are none, and counting up where there are. Loop thread
// only; the last task that shares a value destroys it.
#pragma once

#include <sapwood/frame_pool.hpp>

#include <utility>

namespace sapwood::detail {

/// A link of a list; each link owns a share of the next one.
class inherited_value {
  public:
    inherited_value(const void* key, inherited_value* next) noexcept : key_(key), next_(next) {}

    inherited_value(const inherited_value&) = delete;
    inherited_value& operator=(const inherited_value&) = delete;

    [[nodiscard]] inherited_value* next() const noexcept { return next_; }

    [[nodiscard]] const void* key() const noexcept { return key_; }

  protected:
    virtual ~inherited_value() = default;

  private:
    friend inherited_value* share_inherited(inherited_value* value) noexcept;
    friend void release_inherited(inherited_value* value) noexcept;

    virtual void destroy() noexcept = 0;

    const void* const key_;
    inherited_value* const next_;
    unsigned shares_ = 1;
};

/// One share more; null stays null.
inline inherited_value* share_inherited(inherited_value* value) noexcept {
    if (value != nullptr) {
        ++value->shares_;
    }
    return value;
}

/// One share less.
inline void release_inherited(inherited_value* value) noexcept {
    while (value != nullptr && --value->shares_ == 0) {
        inherited_value* const next = value->next_;
        value->destroy();
        value = next;
    }
}

template <class T>
class inherited final : public inherited_value {
  public:
    inherited(const void* key, inherited_value* next, T what)
        : inherited_value(key, next),
          value(std::move(what)) {}

    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }

    static void operator delete(void* memory, std::size_t bytes) noexcept {
        free_frame(memory, bytes);
    }

    const T value;

  private:
    void destroy() noexcept override { delete this; }
};

} // namespace sapwood::detail
