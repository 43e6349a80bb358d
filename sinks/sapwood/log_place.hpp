// log_place: where a record stands in the tree of a task's actions, see action.hpp: in which
// action, and as which of its records. Taken when the record is made, by the thread that makes it;
// for records outside of actions that is a look at one pointer. Any thread.
#pragma once

#include <sapwood/activity.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sapwood::detail {

class log_action;
class log_backend;

class log_place {
  public:
    /// Text of a UUID.
    static constexpr std::size_t uuid_bytes = 36;
    /// Numbers and commas of a level, without the last number. What would be deeper is a task of
    /// its own.
    static constexpr std::size_t level_bytes_max = 192;
    /// As a field in a ring.
    static constexpr std::size_t bytes_max = 7 + uuid_bytes + level_bytes_max + 10 + 8;
    /// Of an action's last record, in front of the place: its duration, and how many children.
    static constexpr std::size_t times_bytes = 8 + 4;

    log_place() = default;

    log_place(const log_action* inside, std::uint32_t number) noexcept
        : inside_(inside),
          number_(number) {}

    /// The next one in the action of this log that the task, or the thread, is in; none where it is
    /// in none. It is taken for good: who takes it and makes no record leaves a gap that readers
    /// see. A record that is kept only (log_recent) takes none of those that readers of the log
    /// count: it says where it was, by a field `inside`.
    [[nodiscard, gnu::always_inline]] static log_place take(const log_backend& backend,
                                                            bool is_kept_only) noexcept {
        if (current_activity() == nullptr) [[likely]] {
            return {};
        }
        return take_inside(backend, is_kept_only);
    }

    explicit operator bool() const noexcept { return inside_ != nullptr; }

    [[nodiscard]] std::size_t size_max() const noexcept {
        return inside_ != nullptr ? bytes_max : 0;
    }

    /// As a field of the record: returns its end, behind which some bytes may be overwritten.
    char* put(char* to) const noexcept;

  private:
    [[nodiscard]] static log_place take_inside(const log_backend& backend,
                                               bool is_kept_only) noexcept;
    char* put_inside(char* to) const noexcept;

    const log_action* inside_ = nullptr;
    std::uint32_t number_ = 0; // of the record; 0: it has none
};

} // namespace sapwood::detail
