#include <sapwood/log_action.hpp>

#include "exceptions_under_way.hpp"
#include "failure_text.hpp"

#include <sapwood/log_backend.hpp>

#include <mutex>

namespace sapwood::detail {

namespace {

/// Held to look whether nobody knows an action but its scope and its place, to begin and end a
/// visit of one, and to forget what ended ones were begun in. A parent changes only then.
constinit std::mutex relinking;

std::uint64_t resumptions_here() noexcept {
    return running_loop != nullptr ? running_loop->resumptions() : 0;
}

} // namespace

/// From an action to what it was begun in, and so on. Which that is may change where it was begun
/// in what its task, not itself, was in: from there on it is alone. Only one at a time, in a
/// thread.
class log_action::ascent {
  public:
    explicit ascent(activity* from) noexcept : at_(static_cast<log_action*>(from)) {}

    [[nodiscard]] log_action* at() const noexcept { return at_; }

    void rise() noexcept {
        if (at_->is_first_of_task_ && !alone_.owns_lock()) {
            alone_.lock();
        }
        at_ = at_->parent_;
    }

  private:
    log_action* at_;
    std::unique_lock<std::mutex> alone_{relinking, std::defer_lock};
};

inline bool log_action::is_current(const log_backend& backend, log_seen which,
                                   activity* const& place) const noexcept {
    return backend_id_ == backend.id() && !is_skipped_in(place) &&
           (which == log_seen::all || !is_kept_only_);
}

void log_action::lock_for_fork() noexcept {
    relinking.lock();
}

void log_action::unlock_after_fork() noexcept {
    relinking.unlock();
}

log_action* log_action::current(const log_backend& backend, log_seen which) noexcept {
    activity*& place = current_activity_place();
    auto* const innermost = static_cast<log_action*>(place);
    if (innermost == nullptr || innermost->is_current(backend, which, place)) [[likely]] {
        return innermost;
    }
    return find_current(place, backend, which);
}

/// Where the innermost one is of another log, or is left, or is not looked for.
[[gnu::noinline]] log_action* log_action::find_current(activity*& place, const log_backend& backend,
                                                       log_seen which) noexcept {
    if (static_cast<log_action*>(place)->is_skipped_in(place)) {
        settle(place, std::current_exception(), settling::what_is_caught);
    }
    ascent each(place);
    while (each.at() != nullptr && !each.at()->is_current(backend, which, place)) {
        each.rise();
    }
    return each.at();
}

// Beside current(), which is a part of it so.
log_place log_place::take_inside(const log_backend& backend, bool is_kept_only) noexcept {
    const log_action* const inside =
        log_action::current(backend, is_kept_only ? log_seen::all : log_seen::shown);
    return inside == nullptr ? log_place()
                             : log_place(inside, is_kept_only ? 0 : inside->take_number());
}

// --- its end ---

/// What this was begun in and `place` has not left, with a share more: without it, what others end
/// meanwhile could forget what it was begun in, or itself.
log_action* log_action::share_outer(activity* const& place) const noexcept {
    const std::lock_guard alone(relinking);
    log_action* each = parent_;
    while (each != nullptr && each->left_.has(&place)) {
        each = each->parent_;
    }
    if (each != nullptr) {
        each->share();
    }
    return each;
}

/// What is in `place` is this: now it is what this was begun in.
void log_action::pop(activity*& place) noexcept {
    place = share_outer(place);
    release();
}

/// What is in `place` and was begun in this; null where there is nothing like that.
log_action* log_action::next_above(activity* const& place) const noexcept {
    ascent up(place);
    while (log_action* const each = up.at()) {
        up.rise();
        if (up.at() == this) {
            return each;
        }
    }
    return nullptr;
}

bool log_action::come_back(activity* const& place) noexcept {
    const std::lock_guard alone(relinking);
    share();
    ++visits_;
    const bool was_left = left_.has(&place);
    left_.remove(&place);
    if (place == nullptr) {
        // Who is in nothing may be where another one was, that has left what this is in.
        for (log_action* each = parent_; each != nullptr; each = each->parent_) {
            each->left_.remove(&place);
        }
    }
    return was_left;
}

void log_action::skip_in(activity* const& place) noexcept {
    if (place == this || next_above(place) != nullptr) {
        left_.add(&place);
    }
}

void log_action::visit_is_over() noexcept {
    const std::lock_guard alone(relinking);
    --visits_;
    forget_hidden();
}

/// It has ended, and whoever did not know it before need not know it: or what has begun in what
/// has ended would pile up, as in `phase = log.start_action("phase")`.
void log_action::step_out_from_below(log_action& above, activity* const& place) noexcept {
    const std::lock_guard alone(relinking);
    // Besides its scope, which it still has, and this place nobody may look at its parent: who is
    // in what was begun in it may.
    if (place != &above || above.shares() != 2 ||
        above.home_.load(std::memory_order_relaxed) != &place || above.is_skipped_in(place)) {
        return;
    }
    if (parent_ != nullptr) {
        parent_->share();
    }
    above.parent_ = parent_;
    above.is_first_of_task_ |= is_first_of_task_;
    left_.remove(&place); // which it is not below any more
    release();            // the scope has another share
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

/// Whether nobody who comes here, and on, looks for `other`, which is around it: what has ended is
/// left by nobody any more.
bool log_action::hides(const log_action& other) const noexcept {
    return is_over_ && visits_ == 0 && left_.is_empty() && backend_id_ == other.backend_id_ &&
           (!is_kept_only_ || other.is_kept_only_);
}

/// What those hide that have ended and are only known by way of this one, and what it hides itself.
void log_action::forget_what_it_hides() noexcept {
    log_action* last = this;
    for (log_action* next = parent_; next != nullptr && next->is_over_; next = last->parent_) {
        const log_action* each = this;
        while (each != next && !each->hides(*next)) {
            each = each->parent_;
        }
        if (each != next) {
            last->parent_ = next->parent_;
            if (last->parent_ != nullptr) {
                last->parent_->share();
            }
            next->release();
        } else if (next->shares() == 1) {
            last = next;
        } else {
            return;
        }
    }
}

/// Tasks each of which begins in what the one before it did would otherwise keep all of that.
/// The caller is alone, and so does not look at more than a few: what hides nothing, as somebody
/// has left something of it, keeps what is behind it.
void log_action::forget_hidden() noexcept {
    constexpr int looked_at_most = 64;
    int looked_at = 0;
    for (log_action* each = this; each != nullptr && each->is_over_ && looked_at < looked_at_most;
         each = each->parent_, ++looked_at) {
        if (each->is_first_of_task_) {
            each->forget_what_it_hides();
        }
    }
}

/// Who has begun it is not in it any more, either.
void log_action::leave_for_good(activity*& place) noexcept {
    share(); // the place's may be the last one
    const void* const home = home_.exchange(nullptr, std::memory_order_relaxed);
    if (home != nullptr && (home != &place || place != this)) {
        left_.add(home);
    }
    leave_place(place);
    {
        const std::lock_guard alone(relinking);
        is_over_ = true;
        forget_hidden();
    }
    release();
}

void log_action::end(const action_failure* failure) noexcept {
    if (std::exchange(has_ended_, true)) {
        return;
    }
    activity*& place = current_activity_place();
    // Its scope and this place have it, and both are the caller's.
    if (place == this && shares() == 2 && home_.load(std::memory_order_relaxed) == &place)
        [[likely]] {
        write_end(failure, true);
        home_.store(nullptr, std::memory_order_relaxed);
        pop_unseen(place);
        return;
    }
    if (place != this) {
        settle(place, std::current_exception(), settling::what_is_caught);
    }
    write_end(failure, false);
    leave_for_good(place);
}

/// pop() of what nobody else has, and nothing was begun in that is there still.
void log_action::pop_unseen(activity*& place) noexcept {
    if (parent_ == nullptr || !parent_->left_.has(&place)) [[likely]] {
        place = std::exchange(parent_, nullptr); // its share is the place's now
    } else {
        place = share_outer(place);
    }
    release_unseen();
}

bool log_action::is_innermost_in(activity* const& place) const noexcept {
    ascent each(place);
    while (each.at() != nullptr && each.at() != this && each.at()->is_skipped_in(place)) {
        each.rise();
    }
    return each.at() == this;
}

void log_action::end_by_exception() noexcept {
    if (has_ended_) {
        return;
    }
    activity*& place = current_activity_place();
    if (!is_innermost_in(place)) { // or of another task
        const failure_text text;   // which the failure borrows
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
             exceptions_under_way() > top->exceptions_before_)) {
            return;
        }
        const std::shared_ptr<void> keeper = std::move(top->keeper_);
        const failure_text text(top->parked_at_ == resumptions_here() ? error : nullptr);
        const action_failure failure = text.failure();
        top->has_ended_ = true;
        top->parked_in_.store(nullptr, std::memory_order_relaxed);
        top->write_end(&failure, false);
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

bool log_action::is_in(const log_action& other) const noexcept {
    const log_action* each = this;
    while (each != nullptr && each != &other) {
        each = each->parent_;
    }
    return each != nullptr;
}

bool log_action::drop_from(activity*& place) noexcept {
    settle(place, nullptr, settling::all);
    const bool is_there = place == this || next_above(place) != nullptr;
    const bool was_in = is_there && !left_.has(&place);
    forget_home(place, is_there);
    if (activity* const rest = std::exchange(place, nullptr)) {
        rest->release();
    }
    return was_in;
}

void log_action::forget_home(activity* const& place, bool is_there) const noexcept {
    const std::lock_guard alone(relinking);
    // What was begun in the visit is in that place no more, where another one may be made some day.
    // Below it is this, or, where that was ended or left, one that it is in: an outer visit may
    // bring that one back.
    for (auto* each = static_cast<log_action*>(place);
         each != nullptr && each != this && (is_there || !is_in(*each)); each = each->parent_) {
        const void* home = &place;
        each->home_.compare_exchange_strong(home, nullptr, std::memory_order_relaxed);
    }
}

// --- activity ---

activity* log_action::hand_down(const void* from, const void* to) noexcept {
    ascent each(this);
    while (each.at() != nullptr && (each.at()->parked_in_.load(std::memory_order_relaxed) == from ||
                                    each.at()->left_.has(from))) {
        each.rise();
    }
    log_action* const handed = each.at();
    if (handed != nullptr) {
        handed->share();
    }
    // One that was at `to` may have left what it was not in any more when it ended.
    for (; each.at() != nullptr && left_places::has_any_ever(); each.rise()) {
        each.at()->left_.remove(to);
    }
    return handed;
}

void log_action::failed(activity*& place, const std::exception_ptr& error) noexcept {
    settle(place, error, settling::all);
}

void log_action::let_go(activity*& place) noexcept {
    settle(place, nullptr, settling::all);
    // Another place may be made where this one was.
    for (ascent up(place); log_action* const each = up.at(); up.rise()) {
        if (each->home_.load(std::memory_order_relaxed) == &place) {
            each->home_.store(nullptr, std::memory_order_relaxed);
        }
        each->left_.remove(&place);
        if (each->is_first_of_task_ && !left_places::has_any_ever()) {
            break; // it was begun here, and nothing around it was
        }
    }
    if (activity* const rest = std::exchange(place, nullptr)) {
        rest->release();
    }
}

} // namespace sapwood::detail
