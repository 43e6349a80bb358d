#include <sapwood/log_consumer.hpp>

#include "crash_handler.hpp"

#include <sapwood/file.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <exception>
#include <fcntl.h>
#include <new>
#include <optional>
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

/// So many bytes at most are taken from the rings before they are rendered, or an eighth of the
/// smallest batch: a batch is overfilled by no more.
constexpr std::size_t group_bytes_limit = 16u << 10;

std::size_t group_bytes_for(const std::vector<std::unique_ptr<log_output>>& outputs) {
    std::size_t bytes = group_bytes_limit;
    for (const auto& each : outputs) {
        bytes = std::min(bytes, each->batch_bytes() / 8);
    }
    return bytes;
}

/// The same outputs, with nothing in them.
std::vector<std::unique_ptr<log_output>>
hand_over(const std::vector<std::unique_ptr<log_output>>& parents) {
    std::vector<std::unique_ptr<log_output>> outputs;
    outputs.reserve(parents.size());
    for (const auto& each : parents) {
        const bool may_block = each->may_block();
        outputs.push_back(std::make_unique<log_output>(each->hand_over(), may_block));
    }
    return outputs;
}

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

log_consumer::log_consumer(std::shared_ptr<log_backend> backend, std::shared_ptr<log_names> names,
                           std::vector<std::unique_ptr<log_output>> outputs, clock::duration linger)
    : backend_(std::move(backend)),
      names_(std::move(names)),
      linger_(linger),
      outputs_(std::move(outputs)),
      clock_(backend_->ticks_are_trusted()),
      group_bytes_max_(group_bytes_for(outputs_)) {
    group_.reserve(group_records_max);
}

log_consumer::log_consumer(std::shared_ptr<log_backend> backend, std::shared_ptr<log_names> names,
                           log_consumer& parents)
    : log_consumer(std::move(backend), std::move(names), hand_over(parents.outputs_),
                   parents.linger_) {
    wants_watch_ = parents.wants_watch_;
    is_in_child_ = true;
    parents.producers_.clear();
}

log_consumer::~log_consumer() {
    end_watch();
}

void log_consumer::end_watch() noexcept {
    if (std::exchange(is_watched_, false)) {
        crash_handler::unwatch(*this);
    }
}

task<> log_consumer::open() {
    for (const auto& each : outputs_) {
        if (is_in_child_) {
            co_await each->open_in_child();
        } else {
            co_await each->open();
        }
    }
    bell_ = loop_bell::make();
    backend_->attach(bell_);
    if (wants_watch_) {
        crash_handler::watch(*this);
        is_watched_ = true;
    }
}

void log_consumer::stop_requested() noexcept {
    backend_->close();
}

task<> log_consumer::run(std::shared_ptr<log_consumer> self) {
    log_consumer& me = *self;
    std::vector<join_handle<>> writers;
    while (writers.size() < me.outputs_.size()) {
        bool has_memory = true;
        try {
            writers.reserve(me.outputs_.size());
            writers.push_back(spawn_shielded(
                me.outputs_[writers.size()]->write_out(me.progress_, me.visits_), me));
        } catch (const std::bad_alloc&) {
            has_memory = false;
        }
        if (!has_memory) {
            co_await yield(); // what was logged waits
        }
    }
    std::optional<join_handle<>> requests;
    try {
        requests = spawn(hear_requests(me), {.name = "log requests"});
    } catch (const std::bad_alloc&) { // they are heard at the next visit
    }
    for (bool has_ended = false; !has_ended;) {
        try {
            co_await me.consume();
            has_ended = true;
        } catch (const std::bad_alloc&) { // for its frame: it had not begun
        }
        if (!has_ended) {
            co_await yield();
        }
    }
    if (requests) {
        requests->cancel();
        try {
            co_await *requests;
        } catch (const cancelled&) { // a log that ended at once: it had not even begun
        }
    }
    {
        const log_visit here(me.visits_);
        me.push_all();
    }
    for (const auto& each : me.outputs_) {
        each->stop();
    }
    for (const auto& each : writers) {
        co_await each;
    }
    me.backend_->finish();
    for (const auto& each : me.producers_) {
        if (each->reader.wake_producer()) {
            each->room_bell->ring();
        }
    }
    me.bell_->retire();
    me.end_watch();
}

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
    if (batch_is_full()) { // while other outputs get on
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

/// A request wakes nobody but this; consume() sees it, too, so that a flush that comes after it
/// waits for it.
task<> log_consumer::hear_requests(log_consumer& me) {
    try {
        file bell(::fcntl(me.backend_->requests().fd(), F_DUPFD_CLOEXEC, 0));
        while (bell.is_open()) {
            char rings[sizeof(std::uint64_t)];
            (void)co_await bell.read_some(rings);
            me.hand_on_requests();
        }
    } catch (const cancelled&) {      // the log ends
    } catch (const std::exception&) { // they are heard at the next visit
    }
}

void log_consumer::hand_on_requests() noexcept {
    if (const auto asked = backend_->requests().take()) {
        for (const auto& each : outputs_) {
            each->ask(asked);
        }
    }
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
    co_await nap(*this, at_most);
}

/// Until an output has got on, or it is time to see whether one is stuck.
task<> log_consumer::wait_for_progress() {
    clock::duration at_most = clock::duration::max();
    for (const auto& each : outputs_) {
        at_most = std::min(at_most, each->stuck_after());
    }
    (void)co_await as_result(timeout(at_most, progress_.wait()));
    progress_.reset();
}

log_stats log_consumer::stats() const {
    log_stats made;
    // What comes late in a record's way is read first: nothing is ever seen to have come out that
    // has not been seen to have gone in.
    for (const auto& each : outputs_) {
        made.outputs.push_back(each->stats());
    }
    made.taken = counts_.records;
    made.notes = counts_.notes;
    made.ring_bytes_high = counts_.ring_bytes_high;
    made.visits = counts_.visits;
    for (auto& each : made.outputs) {
        each.in_flight = made.taken + made.notes + each.notes - each.written - each.unwanted -
                         each.held_back - each.lost;
    }
    backend_->add_stats(made);
    const std::uint64_t rest = made.accepted - made.dropped() - made.taken;
    (backend_->has_finished() ? made.dropped_after_end : made.in_rings) = rest;
    return made;
}

// --- outputs ---

void log_consumer::push_all() noexcept {
    for (const auto& each : outputs_) {
        each->push();
    }
}

/// What outputs have held back and is due; at the log's end, all of it.
void log_consumer::tell_held_back(bool at_end) noexcept {
    const clock::time_point next = next_telling();
    if (next == clock::time_point::max()) [[likely]] {
        return;
    }
    const clock::time_point now = at_end ? next.max() : event_loop::current().now();
    if (next <= now) {
        std::ranges::for_each(outputs_, [&](const auto& each) { each->tell_held_back(now); });
    }
}

clock::time_point log_consumer::next_telling() const {
    clock::time_point first = clock::time_point::max();
    for (const auto& each : outputs_) {
        first = std::min(first, each->tells_at());
    }
    return first;
}

bool log_consumer::all_settled() const {
    return std::ranges::all_of(outputs_, [](const auto& each) { return each->settled(); });
}

bool log_consumer::any_failing() const {
    return std::ranges::any_of(outputs_, [](const auto& each) { return each->is_failing(); });
}

/// A flush cannot wait for one that is waited for: it gets no further until it works again.
bool log_consumer::holding_output_fails() const {
    return std::ranges::any_of(
        outputs_, [](const auto& each) { return each->must_wait() && each->is_failing(); });
}

/// Those that are to be, after they were asked.
bool log_consumer::all_are_durable() const {
    return std::ranges::none_of(
        outputs_, [](const auto& each) { return each->is_durable() && each->is_failing(); });
}

void log_consumer::give_up_failing() {
    for (const auto& each : outputs_) {
        each->give_up();
    }
}

bool log_consumer::batch_is_full() const {
    return std::ranges::any_of(outputs_, [](const auto& each) { return each->must_wait(); });
}

} // namespace sapwood::detail
