// What the consumer of a log does in one turn, and when the next one is due: it visits the rings at
// once, waits for an output, naps, or sleeps.
#include <sapwood/log_consumer.hpp>

#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <new>
#include <utility>

namespace sapwood::detail {

namespace {

/// A visit that found so much is followed by the next at once; after less there is a nap.
constexpr std::size_t busy_bytes = 64u << 10;

/// What was logged before the end may bear a time that is so much later: a few milliseconds.
constexpr std::uint64_t end_margin_ticks = std::uint64_t{1} << 23;

/// So many naps without a record, and the consumer sleeps.
constexpr unsigned idle_naps_max = 100;

/// Where a thread's commit cannot be had to wake the consumer (no membarrier(2)), it looks so
/// often.
constexpr clock::duration sleep_without_membarrier = std::chrono::milliseconds(20);

} // namespace

/// Waits for a time, or until the bell is rung.
class log_consumer::nap final : public waiter, private timer {
  public:
    nap(log_consumer& of, clock::duration at_most) noexcept : of_(of), at_most_(at_most) {}

    [[nodiscard]] bool await_ready() const noexcept { return of_.bell_->rung().is_set(); }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) {
        context = awaiting.promise().context;
        if (at_most_ != clock::duration::max()) {
            context->loop->arm(*this, saturating_add(context->loop->now(), at_most_));
        }
        wait_in(awaiting);
        of_.bell_->on_ring([](void* me) { static_cast<nap*>(me)->wake(); }, this);
    }

    void await_resume() noexcept { of_.bell_->on_ring(nullptr, nullptr); }

    void cancel() noexcept override {} // the consumer is shielded

  private:
    void wake() noexcept {
        of_.bell_->on_ring(nullptr, nullptr);
        if (armed()) {
            context->loop->disarm(*this);
        }
        context->loop->make_ready(*this);
    }

    void fire() noexcept override { wake(); }

    log_consumer& of_;
    clock::duration at_most_;
};

/// How far a flush, or the end of the log, goes: what is logged meanwhile does not hold it up.
struct log_consumer::goal {
    bool is_set = false;
    bool is_end = false;
    /// All of it is in the batches.
    bool is_settling = false;
    /// It is to be on disk as well; and outputs have been asked for that.
    bool syncs = false;
    bool has_asked_to_sync = false;
    std::uint64_t flushes = 0;
    std::uint64_t until = 0;
};

task<> log_consumer::consume() {
    goal towards;
    while (true) {
        const step next = look(towards);
        if (next == step::end) {
            co_return;
        }
        bool has_memory = true; // to wait with
        try {
            if (next == step::wait) {
                co_await wait_for_progress();
            } else if (next == step::rest) {
                co_await rest();
            }
        } catch (const std::bad_alloc&) {
            has_memory = false;
        }
        if (next == step::give_way || !has_memory) {
            co_await yield();
        }
    }
}

/// A visit, and what is to be done then.
log_consumer::step log_consumer::look(goal& towards) noexcept {
    const clock::time_point now = event_loop::current().now();
    for (const auto& each : outputs_) {
        each->look(now);
    }
    if (towards.is_settling) {
        return settle(towards);
    }
    const std::uint64_t flushes = backend_->flushes_requested();
    const bool closing = backend_->close_requested();
    bell_->rung().reset();
    backend_->set_state(log_backend::state::awake);
    hand_on_requests();
    if ((!towards.is_set && flushes != backend_->flushes_done()) || (closing && !towards.is_end)) {
        towards = {.is_set = true,
                   .is_end = closing,
                   .syncs = closing || backend_->sync_requested() > backend_->flushes_done(),
                   .flushes = flushes,
                   .until = backend_->ticks() + (closing ? end_margin_ticks : 0)};
    }
    if (closing) {
        give_up_failing();
    }
    const std::size_t bytes = visit(towards.is_set ? towards.until : backend_->ticks(), closing);
    idle_naps_ = bytes > 0 ? 0 : idle_naps_ + 1;
    if (has_missed_some_) {
        return step::give_way;
    }
    if (is_full_ && !batch_is_full()) {
        return step::again; // there is room again, and more to take
    }
    if (is_full_) {
        if (towards.is_set && !towards.is_end && holding_output_fails()) {
            backend_->finish_flushes(towards.flushes, true);
            towards = {};
        }
        return step::wait;
    }
    if (towards.is_set) {
        // What was committed before is in the batches once a drain up to a later time has left
        // nothing of it.
        tell_signal(towards.flushes);
        towards.is_settling = true;
        return settle(towards);
    }
    return bytes >= busy_bytes ? step::give_way : step::rest;
}

/// From the rings into the batches. Returns how many bytes.
std::size_t log_consumer::visit(std::uint64_t until, bool closing) noexcept {
    const log_visit here(visits_);
    if (batch_is_full()) { // another output has got on: nothing is put on top
        is_full_ = true;
        has_missed_some_ = false;
        push_all();
        return 0;
    }
    const std::uint64_t dumps = backend_->dumps_requested();
    const std::size_t bytes = drain(until);
    if (!is_full_) {
        if (std::exchange(dumps_done_, dumps) != dumps) {
            std::ranges::for_each(outputs_, [](const auto& each) { each->dump_recent(); });
        }
        tell_held_back(closing);
    }
    push_all();
    return bytes;
}

/// What is in the batches is written before anything else is taken.
log_consumer::step log_consumer::settle(goal& towards) noexcept {
    {
        const log_visit here(visits_);
        push_all();
    }
    if (!all_settled()) {
        return step::wait;
    }
    if (towards.syncs && !std::exchange(towards.has_asked_to_sync, true)) {
        ask_to_sync();
        return step::again;
    }
    finish_flushes(towards);
    if (towards.is_end) {
        return step::end;
    }
    towards = {};
    return step::again;
}

void log_consumer::ask_to_sync() noexcept {
    for (const auto& each : outputs_) {
        if (each->is_durable()) {
            each->ask_to_sync();
        }
    }
}

void log_consumer::finish_flushes(const goal& of) noexcept {
    std::uint64_t lost = 0;
    for (const auto& each : outputs_) {
        lost += each->is_durable() ? each->lines_lost() : 0;
    }
    backend_->note_durable(of.syncs && all_are_durable() ? of.flushes : 0, lost);
    // At the end whoever waits for it waits until the sinks are closed.
    backend_->finish_flushes(of.is_end ? backend_->flushes_done() : of.flushes, any_failing());
}

task<> log_consumer::rest() {
    release_ended();
    clock::duration at_most = linger_;
    if (idle_naps_ < idle_naps_max || left_some_) {
        backend_->set_state(log_backend::state::napping);
    } else if (backend_->set_state(log_backend::state::asleep)) {
        at_most = clock::duration::max();
        for (const auto& each : producers_) {
            if (each->reader.used() > 0 || each->reader.dropped_through() > each->sequence) {
                co_return; // it was committed before it could see that it must wake
            }
        }
    } else {
        backend_->set_state(log_backend::state::napping);
        at_most = sleep_without_membarrier;
    }
    if (backend_->has_new_producers() || backend_->close_requested() ||
        backend_->flushes_requested() != backend_->flushes_done() ||
        backend_->dumps_requested() != dumps_done_) {
        co_return; // asked for before the state could be seen
    }
    if (const auto telling = next_telling(); telling != clock::time_point::max()) {
        const auto until = telling - event_loop::current().now();
        at_most = std::min(at_most, std::max(until, clock::duration::zero()));
    }
    co_await nap(*this, std::min(at_most, next_look()));
}

/// Until an output has got on, or it is time to look.
task<> log_consumer::wait_for_progress() {
    clock::duration at_most = next_look();
    for (const auto& each : outputs_) { // a flush and the log's end are heard all the same
        at_most = std::min(at_most, each->stuck_after());
    }
    (void)co_await as_result(timeout(at_most, progress_.wait()));
    progress_.reset();
}

/// Until it is time to see whether an output is stuck.
clock::duration log_consumer::next_look() const {
    clock::duration first = clock::duration::max();
    for (const auto& each : outputs_) {
        first = std::min(first, each->look_after());
    }
    return first;
}

} // namespace sapwood::detail
