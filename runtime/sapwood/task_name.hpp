// task_name: what a task is to be called, as it is given to spawn, named and this_task::set_name. A
// literal is kept as it is, without an allocation; any other text is copied into the task. Any
// thread.
#pragma once

#include <sapwood/inherited_value.hpp>

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sapwood {

/// Borrows the text to the end of the full expression. Nothing to destroy, so it may stand in a
/// co_await expression.
class task_name {
  public:
    /// No name of its own: a task then has that of the one that starts it.
    constexpr task_name() noexcept = default;

    /// A literal.
    template <std::size_t size>
    consteval task_name(const char (&literal)[size]) noexcept // NOLINT: is to convert
        : text_(static_cast<const char*>(literal)),
          is_literal_(true) {}

    /// Of the program's making: up to its NUL.
    template <std::size_t size>
    task_name(char (&buffer)[size]) noexcept
        : text_(static_cast<const char*>(buffer)) {} // NOLINT: is to convert

    /// A std::string, a string_view.
    template <class Text>
        requires std::convertible_to<const Text&, std::string_view> && (!std::is_array_v<Text>)
    task_name(const Text& text) noexcept : text_(text) {} // NOLINT: is to convert

    [[nodiscard]] constexpr bool empty() const noexcept { return text_.empty(); }

    [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

    /// Whether text().data() lives for ever and ends with a NUL.
    [[nodiscard]] constexpr bool is_literal() const noexcept { return is_literal_; }

  private:
    std::string_view text_;
    bool is_literal_ = false;
};

/// How a task is started.
struct spawn_options {
    /// Its name, and that of the tasks it starts. By default that of the task which starts it.
    task_name name = {};
};

namespace detail {

/// Throws std::bad_alloc where there is no memory for a copy; nothing has changed then.
inline void set_name(task_context& task, task_name name) {
    if (name.is_literal()) {
        set_literal_name(task, name.text().data());
    } else {
        set_string_name(task, std::string(name.text()));
    }
}

/// Takes the memory that a name needs before anything else is done.
class prepared_name {
  public:
    explicit prepared_name(task_name name)
        : text_(name.is_literal() || name.empty()
                    ? nullptr
                    : new inherited<std::string>(nullptr, nullptr, std::string(name.text()))),
          literal_(name.is_literal() ? name.text().data() : nullptr) {}

    prepared_name(const prepared_name&) = delete;
    prepared_name& operator=(const prepared_name&) = delete;

    ~prepared_name() { release_inherited(text_); }

    /// Once.
    void give_to(task_context& task) noexcept {
        if (literal_ != nullptr) {
            set_literal_name(task, literal_);
        } else if (text_ != nullptr) {
            drop_name(task);
            task.name = std::exchange(text_, nullptr);
        }
    }

  private:
    inherited_value* text_;
    const char* literal_;
};

} // namespace detail

} // namespace sapwood
