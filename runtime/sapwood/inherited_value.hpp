// What a task hands down to the tasks it starts: its name and the values of task_locals. A value is
// a pooled block that is never changed once others share it, and is counted, not copied: spawning
// costs a look at two pointers where there are none, and counting up where there are. Loop thread
// only; the last task that shares a value destroys it.
#pragma once

#include <sapwood/frame_pool.hpp>
#include <sapwood/waiter.hpp>

#include <string>
#include <string_view>
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

// --- a task's name: a literal, or a counted string ---

/// Empty where the task has none.
[[nodiscard]] inline std::string_view name_of(const task_context& task) noexcept {
    if (task.name_is_literal) {
        return task.literal_name;
    }
    return task.name != nullptr ? static_cast<const inherited<std::string>*>(task.name)->value
                                : std::string_view();
}

inline void drop_name(task_context& task) noexcept {
    if (!task.name_is_literal) {
        release_inherited(task.name);
    }
    task.name_is_literal = false;
    task.name = nullptr;
}

/// `to` has none yet.
inline void share_name(const task_context& from, task_context& to) noexcept {
    to.name_is_literal = from.name_is_literal;
    if (from.name_is_literal) {
        to.literal_name = from.literal_name;
    } else {
        to.name = share_inherited(from.name);
    }
}

/// `literal` lives for ever.
inline void set_literal_name(task_context& task, const char* literal) noexcept {
    drop_name(task);
    task.literal_name = literal;
    task.name_is_literal = true;
}

inline void set_string_name(task_context& task, std::string name) {
    auto* const named = new inherited<std::string>(nullptr, nullptr, std::move(name));
    drop_name(task);
    task.name = named;
}

} // namespace sapwood::detail
