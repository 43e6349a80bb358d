#include <sapwood/log_action.hpp>

#include "failure_text.hpp"
#include "task_uuid.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/frame_pool.hpp>
#include <sapwood/log_escape.hpp>
#include <sapwood/log_write.hpp>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>

namespace sapwood::detail {

namespace {

constexpr std::size_t action_name_bytes_max = 256;
/// What is copied in one piece, and so may be read behind the tail.
constexpr std::size_t tail_slack_bytes = 16;

/// Held to look whether nobody knows an action but its scope and its place, and to visit one. A
/// parent changes only then.
constinit std::mutex relinking;

std::uint64_t resumptions_here() noexcept {
    return running_loop != nullptr ? running_loop->resumptions() : 0;
}

/// A thread that ends has nobody left to catch what it is parked for, or to end what it is in.
class thread_activity_end {
  public:
    ~thread_activity_end() {
        if (thread_activity != nullptr) {
            thread_activity->let_go(thread_activity);
        }
    }

    void touch() const noexcept {}
};

[[gnu::tls_model("initial-exec")]] constinit thread_local bool is_let_go_at_end = false;

[[gnu::noinline]] void let_go_when_thread_ends() noexcept {
    thread_local const thread_activity_end end;
    end.touch();
    is_let_go_at_end = true;
}

} // namespace

// --- its beginning ---

log_action::log_action(const beginning& how, log_action* parent, bool is_kept_only,
                       std::uint32_t bytes) noexcept
    : source_{how.core.backend, how.core.id},
      backend_id_(how.core.backend->id()),
      parent_(parent),
      began_(how.core.backend->ticks()),
      where_(how.where),
      bytes_(bytes),
      importance_(how.importance),
      exceptions_before_(static_cast<std::int16_t>(std::uncaught_exceptions())),
      name_is_plain_(is_plain(how.name)),
      is_sampled_(how.is_sampled),
      is_kept_only_(is_kept_only) {}

/// And those that it is in, if they are nobody else's: in a loop, for there may be many.
void log_action::destroy() noexcept {
    log_action* each = this;
    do {
        log_action* const parent = each->parent_;
        const std::size_t bytes = each->bytes_;
        each->~log_action();
        free_frame(each, bytes);
        each = parent;
    } while (each != nullptr && each->give_up());
}

/// As a child of `above`; null: a task of its own, or one that is continued.
log_action& log_action::make(const beginning& how, log_action* parent, log_action* above,
                             bool is_kept_only) {
    const std::string_view name = cut_at_character(how.name, action_name_bytes_max);
    const std::string_view trace = above != nullptr ? above->given_trace() : how.trace;
    const std::size_t level_bytes =
        above != nullptr ? above->level_prefix().size() + 11 : how.numbers.size() + 1;
    const auto bytes = static_cast<std::uint32_t>(sizeof(log_action) + level_bytes + name.size() +
                                                  trace.size() + tail_slack_bytes);
    auto& made = *::new (allocate_frame(bytes)) log_action(how, parent, is_kept_only, bytes);
    // Nothing fails from here on, so that no number is taken for nothing.
    char* to = made.tail();
    if (above != nullptr) {
        const std::string_view prefix = above->level_prefix();
        to = put_decimal(to + prefix.copy(to, prefix.size()), above->take_number());
        *to++ = ',';
    } else if (!how.numbers.empty()) {
        to += how.numbers.copy(to, log_place::level_bytes_max - 1);
        *to++ = ',';
    }
    made.level_bytes_ = static_cast<std::uint8_t>(to - made.tail());
    made.name_bytes_ = static_cast<std::uint16_t>(name.size());
    to += name.copy(to, name.size());
    made.has_trace_ = trace.copy(to, trace_bytes) == trace_bytes;
    if (above != nullptr) {
        std::memcpy(made.uuid_, above->uuid_, sizeof(made.uuid_));
        made.is_sampled_ = above->is_sampled_;
    } else if (how.uuid.size() == sizeof(made.uuid_)) {
        std::memcpy(made.uuid_, how.uuid.data(), sizeof(made.uuid_));
    } else {
        put_new_uuid(made.uuid_);
    }
    return made;
}

/// A task of its own, but in the trace of another one.
log_action& log_action::make_in_trace_of(const log_action& other, const beginning& how,
                                         log_action* parent, bool is_kept_only) {
    const std::string trace = other.trace();
    beginning anew = how;
    anew.trace = trace;
    anew.is_sampled = other.is_sampled_;
    return make(anew, parent, nullptr, is_kept_only);
}

log_action& log_action::begin(const beginning& how, std::string_view fields) {
    const bool is_kept_only = kept_only_flag(how.core, how.importance) != 0;
    // What is parked has ended when it is known.
    log_action* const above =
        current(*how.core.backend, is_kept_only ? log_seen::all : log_seen::shown);
    activity*& place = current_activity_place();
    if (auto* const top = static_cast<log_action*>(place); top != nullptr && top->left_.has(&place))
        [[unlikely]] {
        top->pop(place); // or they would pile up
    }
    auto* const parent = static_cast<log_action*>(place);
    std::string with_link;
    log_action* made = nullptr;
    if (!how.uuid.empty() || how.is_task) {
        made = &make(how, parent, nullptr, is_kept_only);
    } else if (above != nullptr && (is_kept_only || above->is_deepest())) [[unlikely]] {
        // Deeper than a record can tell, or of those that have no numbers: a task of its own, which
        // says where it belongs.
        const std::string link = above->task_id();
        append_field(with_link, field_text(kv("continues", link)));
        with_link += fields;
        fields = with_link;
        made = &make_in_trace_of(*above, how, parent, is_kept_only);
    } else if (const log_action* const hidden = // what it is in is kept only
               above == nullptr && parent != nullptr ? current(*how.core.backend, log_seen::all)
                                                     : nullptr) [[unlikely]] {
        made = &make_in_trace_of(*hidden, how, parent, is_kept_only);
    } else {
        made = &make(how, parent, above, is_kept_only);
    }
    if (&place == &thread_activity && !is_let_go_at_end) [[unlikely]] {
        let_go_when_thread_ends();
    }
    made->share();
    made->home_.store(&place, std::memory_order_relaxed);
    place = made; // with the place's share of its parent, which is now its own
    made->write_start(fields);
    return *made;
}

log_action* log_action::current(const log_backend& backend, log_seen which) noexcept {
    activity*& place = current_activity_place();
    auto* each = static_cast<log_action*>(place);
    if (each != nullptr && each->is_skipped_in(place)) [[unlikely]] {
        settle(place, std::current_exception(), settling::what_is_caught);
        each = static_cast<log_action*>(place);
    }
    for (; each != nullptr; each = each->parent_) {
        if (each->backend_id_ == backend.id() && !each->is_skipped_in(place) &&
            (which == log_seen::all || !each->is_kept_only_)) {
            return each;
        }
    }
    return nullptr;
}

// --- its end ---

void log_action::add_success(std::string_view fields) {
    if (more_success_ == nullptr && success_bytes_ + fields.size() <= success_bytes_max) {
        success_bytes_ = static_cast<std::uint16_t>(
            success_bytes_ + fields.copy(success_ + success_bytes_, fields.size()));
        return;
    }
    if (more_success_ == nullptr) {
        more_success_ = std::make_unique<std::string>(success_, success_bytes_);
    }
    *more_success_ += fields;
}

log_action* log_action::outer(activity* const& place) const noexcept {
    log_action* each = parent_;
    while (each != nullptr && each->left_.has(&place)) {
        each = each->parent_;
    }
    return each;
}

/// What is in `place` is this: now it is what this was begun in.
void log_action::pop(activity*& place) noexcept {
    log_action* const next = outer(place);
    if (next != nullptr) {
        next->share();
    }
    place = next;
    release();
}

/// What is in `place` and was begun in this; null where there is nothing like that.
log_action* log_action::next_above(activity* const& place) const noexcept {
    auto* each = static_cast<log_action*>(place);
    while (each != nullptr && each->parent_ != this) {
        each = each->parent_;
    }
    return each;
}

bool log_action::come_back(activity* const& place) noexcept {
    const std::lock_guard alone(relinking);
    share();
    const bool was_left = left_.has(&place);
    left_.remove(&place);
    return was_left;
}

void log_action::skip_in(activity* const& place) noexcept {
    if (place == this || next_above(place) != nullptr) {
        left_.add(&place);
    }
}

/// It has ended, and whoever did not know it before need not know it: or what has begun in what
/// has ended would pile up, as in `phase = log.start_action("phase")`.
void log_action::step_out_from_below(log_action& above, activity* const& place) noexcept {
    const std::lock_guard alone(relinking);
    // Besides its scope, which it still has, and this place nobody may look at its parent.
    if (above.shares() != 2 || above.home_.load(std::memory_order_relaxed) != &place ||
        above.is_skipped_in(place)) {
        return;
    }
    if (parent_ != nullptr) {
        parent_->share();
    }
    above.parent_ = parent_;
    release(); // the scope has another share
}

void log_action::leave_place(activity*& place) noexcept {
    if (place == this) {
        pop(place);
    } else if (log_action* const above = next_above(place)) {
        left_.add(&place);
        if (has_ended_) {
            step_out_from_below(*above, place);
        }
    }
}

/// Who has begun it is not in it any more, either.
void log_action::leave_for_good(activity*& place) noexcept {
    const void* const home = home_.exchange(nullptr, std::memory_order_relaxed);
    if (home != nullptr && (home != &place || place != this)) {
        left_.add(home);
    }
    leave_place(place);
}

void log_action::end(const action_failure* failure) noexcept {
    if (std::exchange(has_ended_, true)) {
        return;
    }
    activity*& place = current_activity_place();
    if (place != this) {
        settle(place, std::current_exception(), settling::what_is_caught);
    }
    write_end(failure);
    leave_for_good(place);
}

void log_action::end_by_exception() noexcept {
    if (has_ended_) {
        return;
    }
    activity*& place = current_activity_place();
    const auto* at = static_cast<const log_action*>(place);
    while (at != nullptr && at != this && at->is_skipped_in(place)) {
        at = at->parent_;
    }
    if (at != this) {            // of another task, or not the innermost
        const failure_text text; // which the failure borrows
        const action_failure unknown = text.failure();
        end(&unknown);
        return;
    }
    ended_ = source_.backend->ticks();
    parked_at_ = resumptions_here();
    keeper_ = source_.backend->keep();
    parked_in_.store(&place, std::memory_order_relaxed);
}

/// Ends what is parked in `place`, but for what an exception that is on its way still is to be
/// caught for. One that is known now is theirs, unless their task has waited meanwhile: then
/// somebody has caught theirs, and said nothing.
void log_action::settle(activity*& place, const std::exception_ptr& error,
                        settling which) noexcept {
    while (auto* const top = static_cast<log_action*>(place)) {
        if (top->left_.has(&place)) {
            top->pop(place);
            continue;
        }
        if (top->parked_in_.load(std::memory_order_relaxed) != &place ||
            (which == settling::what_is_caught &&
             std::uncaught_exceptions() > top->exceptions_before_)) {
            return;
        }
        const std::shared_ptr<void> keeper = std::move(top->keeper_);
        const failure_text text(top->parked_at_ == resumptions_here() ? error : nullptr);
        const action_failure failure = text.failure();
        top->has_ended_ = true;
        top->parked_in_.store(nullptr, std::memory_order_relaxed);
        top->write_end(&failure);
        top->leave_for_good(place);
    }
}

void log_action::leave() noexcept {
    activity*& place = current_activity_place();
    const void* home = &place;
    if (home_.compare_exchange_strong(home, nullptr, std::memory_order_relaxed) && place != this) {
        left_.add(&place); // also where it is in another visit now
    }
    leave_place(place);
}

bool log_action::drop_from(activity*& place) noexcept {
    settle(place, nullptr, settling::all);
    const bool was_in = (place == this || next_above(place) != nullptr) && !left_.has(&place);
    if (activity* const rest = std::exchange(place, nullptr)) {
        rest->release();
    }
    return was_in;
}

// --- activity ---

activity* log_action::hand_down(const void* place) noexcept {
    log_action* each = this;
    while (each != nullptr &&
           (each->parked_in_.load(std::memory_order_relaxed) == place || each->left_.has(place))) {
        each = each->parent_;
    }
    if (each != nullptr) {
        each->share();
    }
    return each;
}

void log_action::failed(activity*& place, const std::exception_ptr& error) noexcept {
    settle(place, error, settling::all);
}

void log_action::let_go(activity*& place) noexcept {
    settle(place, nullptr, settling::all);
    // Another place may be made where this one was.
    for (auto* each = static_cast<log_action*>(place); each != nullptr; each = each->parent_) {
        if (each->home_.load(std::memory_order_relaxed) == &place) {
            each->home_.store(nullptr, std::memory_order_relaxed);
        }
        each->left_.remove(&place);
    }
    if (activity* const rest = std::exchange(place, nullptr)) {
        rest->release();
    }
}

} // namespace sapwood::detail
