#include <sapwood/log_consumer.hpp>

#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace sapwood::detail {

namespace {

/// A visit that found so much is followed by the next at once; after less there is a nap.
constexpr std::size_t busy_bytes = 64u << 10;

/// So many naps without a record, and the consumer sleeps.
constexpr unsigned idle_naps_max = 100;

/// Where a thread's commit cannot be had to wake the consumer (no membarrier(2)), it looks so
/// often.
constexpr clock::duration sleep_without_membarrier = std::chrono::milliseconds(20);

constexpr std::uint64_t far_future_ticks = std::uint64_t{1} << 62;

std::string text_of_gap(const log_producer& from, std::uint64_t first, std::uint64_t count,
                        const std::uint64_t (&drops)[drop_reasons]) {
    constexpr std::string_view reasons[drop_reasons] = {
        "the thread's ring was full", "the oldest made room for newer ones",
        "the ring was full and they were below the level to keep", "there was no memory"};
    std::string why;
    for (std::size_t i = 0; i < drop_reasons; ++i) {
        if (drops[i] > 0) {
            why += fmt::format("{}{} because {}", why.empty() ? "" : ", ", drops[i], reasons[i]);
        }
    }
    return fmt::format("{} records of thread {} are missing here, numbers {} to {}: {}", count,
                       from.thread.id, first, first + count - 1, why);
}

bool is_later(std::uint64_t one, std::uint64_t other) noexcept {
    return static_cast<std::int64_t>(one - other) > 0;
}

} // namespace

std::uint16_t log_names::add(std::string_view name) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < names_.size(); ++i) {
        if (*names_[i] == name) {
            return static_cast<std::uint16_t>(i);
        }
    }
    if (names_.size() > 0xffff) {
        throw std::length_error("a log has at most 65535 loggers of different names");
    }
    names_.push_back(std::make_unique<std::string>(name));
    return static_cast<std::uint16_t>(names_.size() - 1);
}

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
      clock_(backend_->ticks_are_trusted()) {}

task<> log_consumer::open() {
    for (const auto& each : outputs_) {
        co_await each->open();
    }
    bell_ = loop_bell::make();
    backend_->attach(bell_);
}

void log_consumer::stop_requested() noexcept {
    backend_->close();
}

task<> log_consumer::run(std::shared_ptr<log_consumer> self) {
    log_consumer& me = *self;
    std::vector<join_handle<>> writers;
    writers.reserve(me.outputs_.size());
    for (const auto& each : me.outputs_) {
        writers.push_back(spawn_shielded(each->write_out(me.progress_), me));
    }
    co_await me.consume();
    for (const auto& each : me.outputs_) {
        each->push();
        each->stop();
    }
    for (const auto& each : writers) {
        co_await each;
    }
    me.backend_->finish();
    me.backend_->take_new_producers(me.producers_);
    for (const auto& each : me.producers_) {
        if (each->reader.wake_producer()) {
            each->room_bell->ring();
        }
    }
    me.bell_->retire();
}

task<> log_consumer::consume() {
    while (true) {
        const std::uint64_t flushes = backend_->flushes_requested();
        const bool closing = backend_->close_requested();
        const std::uint64_t dumps = backend_->dumps_requested();
        bell_->rung().reset();
        backend_->set_state(log_backend::state::awake);
        // At the end all that there is counts, be it new or not.
        const std::uint64_t now = backend_->ticks() + (closing ? far_future_ticks : 0);
        if (closing) {
            give_up_failing();
        }
        const std::size_t bytes = drain(now);
        idle_naps_ = bytes > 0 ? 0 : idle_naps_ + 1;
        if (!is_full_) {
            if (std::exchange(dumps_done_, dumps) != dumps) {
                std::ranges::for_each(outputs_, [](const auto& each) { each->dump_recent(); });
            }
            tell_held_back(closing);
        }
        push_all();
        if (is_full_ && !batch_is_full()) {
            continue; // there is room again, and more to take
        }
        if (is_full_) {
            if (flushes != backend_->flushes_done() && only_output_fails()) {
                backend_->finish_flushes(flushes, true);
            }
            co_await wait_for_progress();
            continue;
        }
        if (flushes != backend_->flushes_done() || closing) {
            // What was committed before is in the batches once a drain up to a later time has left
            // nothing of it.
            while (!all_settled()) {
                co_await wait_for_progress();
                push_all();
            }
            backend_->finish_flushes(flushes, any_failing());
            if (closing) {
                co_return;
            }
            continue;
        }
        if (bytes >= busy_bytes) {
            co_await yield();
        } else {
            co_await rest();
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

// --- draining ---

std::size_t log_consumer::drain(std::uint64_t until) {
    clock_.refresh();
    pass_bytes_ = 0;
    left_some_ = false;
    is_full_ = false;
    gather(until);
    merge(until);
    if (backend_->dropped_without_ring() != told_without_ring_) [[unlikely]] {
        tell_records_without_ring();
    }
    for (log_producer* const each : begun_) {
        if (each->reader.end()) {
            each->room_bell->ring();
        }
    }
    return pass_bytes_;
}

void log_consumer::gather(std::uint64_t until) {
    backend_->take_new_producers(producers_);
    heap_.clear();
    begun_.clear();
    for (const auto& each : producers_) {
        const std::uint64_t dropped_through = each->reader.dropped_through();
        if (!each->reader.begin()) {
            if (dropped_through > each->sequence) [[unlikely]] {
                tell_gap(*each, dropped_through); // nothing came after it
            }
            continue;
        }
        begun_.push_back(each.get());
        counts_.ring_bytes_high =
            std::max<std::uint64_t>(counts_.ring_bytes_high, each->reader.used());
        if (const auto* const frame = each->reader.front()) {
            if (is_later(frame->ticks, until)) {
                left_some_ = true;
            } else {
                heap_.push_back({frame->ticks, each.get(), frame});
            }
        }
    }
}

inline void log_consumer::take(log_producer& from, const log_frame& frame) {
    // The numbers in the ring are the lower halves.
    const std::uint32_t missing = frame.sequence - static_cast<std::uint32_t>(from.sequence);
    if (missing != 0) [[unlikely]] {
        tell_gap(from, from.sequence + missing);
    }
    const char* const text = reinterpret_cast<const char*>(&frame) + sizeof(log_frame);
    const log_record record{
        .when = clock_.at(frame.ticks),
        .importance = static_cast<level>(frame.importance),
        .is_known_plain = (frame.flags & log_frame::plain) != 0,
        .is_truncated = (frame.flags & log_frame::truncated) != 0,
        .is_kept_only = (frame.flags & log_frame::kept_only) != 0,
        .message = {text, frame.message_bytes},
        .logger = name_of(frame.logger),
        .logger_id = frame.logger,
        .thread = from.thread,
        .sequence = from.sequence,
        .fields = (frame.flags & log_frame::has_fields) != 0
                      ? std::string_view(text + frame.message_bytes,
                                         frame.bytes - sizeof(log_frame) - frame.message_bytes -
                                             (frame.flags >> log_frame::padding_shift))
                      : std::string_view(),
    };
    ++from.sequence;
    ++counts_.records;
    pass_bytes_ += frame.bytes;
    append(record);
}

/// Takes records up to `until`, in order. What came later than that waits for the next visit: by
/// then, all that others committed before it is in their rings, too.
void log_consumer::merge(std::uint64_t until) {
    const auto later = [](const source& a, const source& b) { return is_later(a.ticks, b.ticks); };
    std::make_heap(heap_.begin(), heap_.end(), later);
    while (!heap_.empty()) {
        // The heap's second is one of the root's children.
        std::uint64_t next = until;
        for (std::size_t i = 1; i < std::min<std::size_t>(heap_.size(), 3); ++i) {
            next = is_later(next, heap_[i].ticks) ? heap_[i].ticks : next;
        }
        source& first = heap_.front();
        log_producer& producer = *first.producer;
        const log_frame* frame = first.frame;
        do {
            take(producer, *frame);
            producer.reader.pop(*frame);
            frame = producer.reader.front();
        } while (frame != nullptr && !is_later(frame->ticks, next) && !is_full_);
        if (is_full_) [[unlikely]] {
            left_some_ = true;
            return;
        }
        if (frame == nullptr || is_later(frame->ticks, until)) {
            left_some_ = left_some_ || frame != nullptr;
            std::pop_heap(heap_.begin(), heap_.end(), later);
            heap_.pop_back();
            continue;
        }
        if (heap_.size() == 2) { // two threads: the other one is next
            first.ticks = frame->ticks;
            first.frame = frame;
            std::swap(heap_[0], heap_[1]);
            continue;
        }
        std::pop_heap(heap_.begin(), heap_.end(), later);
        heap_.back().ticks = frame->ticks;
        heap_.back().frame = frame;
        std::push_heap(heap_.begin(), heap_.end(), later);
    }
}

void log_consumer::append(const log_record& record) {
    for (const auto& each : outputs_) {
        each->append(record);
        is_full_ |= each->must_wait();
    }
}

/// Records from the expected one up to `through` are missing: says so, in their place.
void log_consumer::tell_gap(log_producer& from, std::uint64_t through) {
    std::uint64_t reasons[drop_reasons];
    for (std::size_t i = 0; i < drop_reasons; ++i) {
        const std::uint64_t drops = from.reader.drops(static_cast<drop_reason>(i));
        reasons[i] = drops - std::exchange(from.told_drops[i], drops);
        counts_.dropped[i] += reasons[i];
    }
    const std::uint64_t count = through - from.sequence;
    const std::string text = text_of_gap(from, from.sequence, count, reasons);
    append({.when = clock_.at(backend_->ticks()),
            .importance = level::warning,
            .is_known_plain = true,
            .is_truncated = false,
            .message = text,
            .logger = "sapwood",
            .logger_id = 0xffff,
            .thread = from.thread,
            .sequence = from.sequence,
            .fields = {}});
    from.sequence = through;
}

void log_consumer::tell_records_without_ring() {
    static const log_thread nobody;
    const std::uint64_t dropped = backend_->dropped_without_ring();
    const std::string text =
        fmt::format("{} records of threads that have no memory for a ring are missing",
                    dropped - std::exchange(told_without_ring_, dropped));
    append({.when = clock_.at(backend_->ticks()),
            .importance = level::warning,
            .is_known_plain = true,
            .is_truncated = false,
            .message = text,
            .logger = "sapwood",
            .logger_id = 0xffff,
            .thread = nobody,
            .sequence = 0,
            .fields = {}});
}

std::string_view log_consumer::name_of(std::uint16_t id) {
    while (id >= known_names_.size()) [[unlikely]] {
        known_names_.push_back(names_->of(static_cast<std::uint16_t>(known_names_.size())));
    }
    return known_names_[id];
}

/// Rings of threads that are gone, and have nothing more to tell, go.
void log_consumer::release_ended() {
    std::erase_if(producers_, [](const auto& each) {
        const bool ended =
            each->has_ended.load(std::memory_order_acquire) ||
            (each->is_late && ::syscall(SYS_tgkill, ::getpid(), each->thread.id, 0) != 0 &&
             errno == ESRCH);
        return ended && each->reader.used() == 0 &&
               each->reader.dropped_through() <= each->sequence;
    });
}

// --- outputs ---

void log_consumer::push_all() {
    for (const auto& each : outputs_) {
        each->push();
    }
}

/// What outputs have held back and is due; at the log's end, all of it.
void log_consumer::tell_held_back(bool at_end) {
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

/// A flush cannot wait for it: it gets no further until it works again. One of several is not
/// waited for in any case.
bool log_consumer::only_output_fails() const {
    return outputs_.size() == 1 && outputs_.front()->is_failing();
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
