// log_action: an action that is under way, below the scope that users have of it (action.hpp): its
// place in the tree of its task, how many records it has so far, and what is to be said at its end.
// Counted: its scope has a share, and so have the places of the tasks and threads that are in it
// and each action that was begun inside. Any thread may make records inside; what ends it is its
// scope.
#pragma once

#include <sapwood/activity.hpp>
#include <sapwood/left_places.hpp>
#include <sapwood/level.hpp>
#include <sapwood/log_place.hpp>
#include <sapwood/log_text.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>

namespace sapwood::detail {

struct log_core;

/// What a record needs to know of its logger, without keeping it.
struct log_action_source {
    log_backend* backend;
    std::uint16_t id;
};

/// Which actions are looked for: all, or those that are not made for keeping only (log_recent).
enum class log_seen : std::uint8_t { all, shown };

enum class action_outcome : std::uint8_t { succeeded, failed, cancelled };

/// How an action ended, if not well.
struct action_failure {
    action_outcome outcome = action_outcome::failed;
    std::string_view exception;
    std::string_view reason;
};

class log_action final : public activity {
  public:
    struct beginning {
        const log_core& core;
        level importance;
        std::string_view name;
        const std::source_location& where;
        /// Continues that task, at that place (numbers with commas); else where the caller is.
        std::string_view uuid = {};
        std::string_view numbers = {};
        /// 32 hexadecimal digits, where it is in somebody else's trace.
        std::string_view trace = {};
        bool is_sampled = true;
        /// A task of its own, whatever the caller is in.
        bool is_task = false;
    };

    /// Begins one where the caller is, writes its first record, and makes it what the caller is in.
    /// Its first share is the scope's. Throws std::bad_alloc.
    [[nodiscard]] static log_action& begin(const beginning& how, std::string_view fields);

    /// The innermost one of this log that the caller is in; null where it is in none.
    [[nodiscard]] static log_action* current(const log_backend& backend, log_seen which) noexcept;

    /// The same for what others are to know: one that is shown, if there is one.
    [[nodiscard]] static log_action* current_for_others(const log_backend& backend) noexcept;

    // --- its scope's ---

    /// For the last record, should it end well. Throws std::bad_alloc.
    void add_success(std::string_view fields);

    /// The same of fields that are put where they stay, if there is room for the longest that they
    /// may be; false, and nothing done, where there is not.
    template <class... Text>
    [[nodiscard]] bool put_success(const Text&... fields) noexcept {
        const std::size_t bytes_max =
            (success_bytes_ + ... + fields.size_max()) + log_text_overrun_bytes_max;
        if (more_success_ != nullptr || bytes_max > success_bytes_max) {
            return false;
        }
        char* to = success_ + success_bytes_;
        ((to = fields.put(to)), ...);
        success_bytes_ = static_cast<std::uint16_t>(to - success_);
        return true;
    }

    /// Writes the last record and takes it out of where the caller is, and of where it was begun;
    /// once. Who else is in it goes on below it. Null: it has succeeded.
    void end(const action_failure* failure) noexcept;

    /// The same for an exception that is on its way through the scope: which one it is will be
    /// known when somebody catches it.
    void end_by_exception() noexcept;

    /// What is logged where the caller is, is not in it any more.
    void leave() noexcept;

    /// Exceptions that were on their way when it began.
    [[nodiscard]] int exceptions_before() const noexcept { return exceptions_before_; }

    // --- who forks ---

    /// Between the two no other thread holds what actions lock.
    static void lock_for_fork() noexcept;
    static void unlock_after_fork() noexcept;

    // --- anybody's who has a share ---

    [[nodiscard]] std::uint32_t take_number() const noexcept {
        return next_.fetch_add(1, std::memory_order_relaxed);
    }

    [[nodiscard]] std::string_view uuid() const noexcept { return {tail(), log_place::uuid_bytes}; }

    /// Numbers, each with a comma behind it, to which a record adds its own.
    [[nodiscard]] std::string_view level_prefix() const noexcept {
        return {tail() + log_place::uuid_bytes, level_bytes_};
    }

    [[nodiscard]] std::string_view name() const noexcept {
        return {tail() + identity_bytes(), name_bytes_};
    }

    /// The UUID and level_prefix(): returns their end, behind which so many bytes may be
    /// overwritten that it is identity_bytes_at_once in all.
    [[gnu::always_inline]] char* put_identity(char* to) const noexcept {
        std::memcpy(to, tail(), identity_bytes_at_once); // a fixed size needs no call
        const std::size_t bytes = identity_bytes();
        if (bytes > identity_bytes_at_once) [[unlikely]] {
            std::memcpy(to + identity_bytes_at_once, tail() + identity_bytes_at_once,
                        bytes - identity_bytes_at_once);
        }
        return to + bytes;
    }

    static constexpr std::size_t identity_bytes_at_once = 64;

    // --- a visit's, on whose place its caller is ---

    /// One share more. Whether `place` had left it: not any more, nor, where that is in nothing,
    /// what this is in.
    [[nodiscard]] bool come_back(activity* const& place) noexcept;

    /// `place` is in nothing any more; what is parked there has failed by something unknown. False
    /// where it was not in this.
    bool drop_from(activity*& place) noexcept;

    /// Where what is in `place` is in this, too: it is to skip it.
    void skip_in(activity* const& place) noexcept;

    /// Behind all that: one visit less.
    void visit_is_over() noexcept;

    // --- anybody's who has a share ---

    /// An action in it is too deep for a record to tell.
    [[nodiscard]] bool is_deepest() const noexcept {
        return level_bytes_ + 11u > log_place::level_bytes_max;
    }

    /// `<uuid>@/2/3`, as eliot writes it: the task, and the action in it. In place of what is at
    /// `to`, task_id_bytes_max at most; its end.
    char* put_task_id(char* to) const noexcept;
    static constexpr std::size_t task_id_bytes_max =
        log_place::uuid_bytes + 2 + log_place::level_bytes_max;

    [[nodiscard]] std::string task_id() const;

    /// The same of a child that is to be begun elsewhere, whose number is taken. Ends in /0 where
    /// that would be too deep: there a task of its own is begun.
    [[nodiscard]] std::string take_child_id() const;

    [[nodiscard]] std::string traceparent() const;

    /// 32 hexadecimal digits: of the trace that it, or one that it is in, was begun in; else its
    /// task's.
    [[nodiscard]] std::string trace() const;

    /// The same; empty where it is in nobody else's.
    [[nodiscard]] std::string_view given_trace() const noexcept {
        return {tail() + identity_bytes() + name_bytes_, has_trace_ ? trace_bytes : 0};
    }

    // --- activity ---

    [[nodiscard]] activity* hand_down(const void* from, const void* to) noexcept override;
    void failed(activity*& place, const std::exception_ptr& error) noexcept override;
    void let_go(activity*& place) noexcept override;

  private:
    log_action(const beginning& how, log_action* parent, bool is_kept_only,
               std::uint32_t bytes) noexcept;
    ~log_action() override = default;

    void destroy() noexcept override;

    [[nodiscard]] static log_action& make(const beginning& how, log_action* parent,
                                          log_action* above, bool is_kept_only);
    [[nodiscard]] static log_action& make_in_trace_of(const log_action& other, const beginning& how,
                                                      log_action* parent, bool is_kept_only);
    [[nodiscard]] static log_action& make_apart(const log_action& above, const beginning& how,
                                                log_action* parent, bool is_kept_only,
                                                std::string& fields);
    log_action& put_in(activity*& place, std::string_view fields) noexcept;

    class ascent;
    enum class settling : std::uint8_t { what_is_caught, all };

    [[nodiscard]] bool is_current(const log_backend& backend, log_seen which,
                                  activity* const& place) const noexcept;
    [[nodiscard]] static log_action* find_current(activity*& place, const log_backend& backend,
                                                  log_seen which) noexcept;

    [[nodiscard]] bool is_skipped_in(activity* const& place) const noexcept {
        return parked_in_.load(std::memory_order_relaxed) == &place || left_.has(&place);
    }

    /// Whether it is `other`, or was begun in it, at any depth.
    [[nodiscard]] bool is_in(const log_action& other) const noexcept;
    [[nodiscard]] log_action* share_outer(activity* const& place) const noexcept;
    [[nodiscard]] log_action* next_above(activity* const& place) const noexcept;
    [[nodiscard]] bool is_innermost_in(activity* const& place) const noexcept;
    [[nodiscard]] bool hides(const log_action& other) const noexcept;
    void forget_what_it_hides() noexcept;
    void forget_hidden() noexcept;
    void forget_home(activity* const& place, bool is_there) const noexcept;
    void step_out_from_below(log_action& above, activity* const& place) noexcept;
    static void settle(activity*& place, const std::exception_ptr& error, settling which) noexcept;
    void pop(activity*& place) noexcept;
    void pop_unseen(activity*& place) noexcept;
    void leave_place(activity*& place) noexcept;
    void leave_for_good(activity*& place) noexcept;
    struct last_words;
    [[nodiscard]] bool put_in_short(std::uint64_t ticks, const last_words* last,
                                    std::string_view users) const noexcept;
    void write_start(std::string_view fields) noexcept;
    void write_end(const action_failure* failure, bool is_nobody_elses) noexcept;
    void write_long_end(const last_words& last, const action_failure* failure,
                        std::string_view users) noexcept;

    [[nodiscard]] const char* tail() const noexcept {
        return reinterpret_cast<const char*>(this) + sizeof(*this);
    }

    [[nodiscard]] char* tail() noexcept { return reinterpret_cast<char*>(this) + sizeof(*this); }

    [[nodiscard]] std::size_t identity_bytes() const noexcept {
        return log_place::uuid_bytes + level_bytes_;
    }

    /// What is copied in one piece, and so may be read behind the tail.
    static constexpr std::size_t tail_slack_bytes = identity_bytes_at_once - log_place::uuid_bytes;
    static constexpr std::size_t success_bytes_max = 160;
    static constexpr std::size_t trace_bytes = 32;

    // Constant, but for its parent, which is what it was begun in.
    log_action_source source_;
    std::uint64_t backend_id_;
    log_action* parent_;
    std::uint64_t began_;
    std::source_location where_;
    std::uint32_t bytes_;
    std::uint16_t name_bytes_;
    std::uint8_t level_bytes_;
    level importance_;
    std::int16_t exceptions_before_;
    std::uint8_t frame_flags_; // of its records
    bool has_trace_ = false;
    bool is_sampled_ = true;
    /// Of a level that is made for outputs only that keep such, and so are its records. It takes no
    /// number, and gives none.
    bool is_kept_only_;
    /// Its parent is what its task was in already. That may change when it has ended, and be
    /// another one that has not been forgotten: but by step_out_from_below(), only then.
    bool is_first_of_task_ = false;

    // Who is alone: it has ended, and its places are not in it any more; visits of it.
    bool is_over_ = false;
    std::uint32_t visits_ = 0;

    // Any thread.
    mutable std::atomic<std::uint32_t> next_{1};
    left_places left_;
    /// The place that it was begun in, while that is in it.
    std::atomic<const void*> home_{nullptr};
    /// Its scope is gone, by an exception that nobody has caught yet: the place that it was in,
    /// which keeps it until it is known which one.
    std::atomic<const void*> parked_in_{nullptr};

    // Its scope's, and then, where it is parked, of the place that it is in.
    bool has_ended_ = false;
    std::uint16_t success_bytes_ = 0;
    std::uint64_t ended_ = 0;
    std::uint64_t parked_at_ = 0;
    std::shared_ptr<void> keeper_;
    std::unique_ptr<std::string> more_success_;
    char success_[success_bytes_max]; // NOLINT: filled where success_bytes_ says so
    // Behind it, constant: the UUID, the level, the name, the trace, and tail_slack_bytes.
};

} // namespace sapwood::detail
