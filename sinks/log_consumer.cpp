#include <sapwood/log_consumer.hpp>

#include "crash_handler.hpp"
#include "log_visit.hpp"

#include <sapwood/file.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdexcept>
#include <sys/syscall.h>
#include <unistd.h>
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

/// So many records at most are taken from the rings before they are rendered, ...
constexpr std::size_t group_records_max = 64;

/// ... with so many bytes, or an eighth of the smallest batch: a batch is overfilled by no more.
constexpr std::size_t group_bytes_limit = 16u << 10;

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

std::size_t group_bytes_for(const std::vector<std::unique_ptr<log_output>>& outputs) {
    std::size_t bytes = group_bytes_limit;
    for (const auto& each : outputs) {
        bytes = std::min(bytes, each->batch_bytes() / 8);
    }
    return bytes;
}

bool is_later(std::uint64_t one, std::uint64_t other) noexcept {
    return static_cast<std::int64_t>(one - other) > 0;
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

std::uint16_t log_names::add(std::string_view name) {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < names_.size(); ++i) {
        if (*names_[i] == name) {
            return static_cast<std::uint16_t>(i);
        }
    }
    if (names_.size() == log_record::own_id) {
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
    writers.reserve(me.outputs_.size());
    for (const auto& each : me.outputs_) {
        writers.push_back(spawn_shielded(each->write_out(me.progress_), me));
    }
    auto requests = spawn(hear_requests(me), {.name = "log requests"});
    co_await me.consume();
    requests.cancel();
    try {
        co_await requests;
    } catch (const cancelled&) { // a log that ended at once: it had not even begun
    }
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
    me.end_watch();
}

/// How far a flush, or the end of the log, goes: what is logged meanwhile does not hold it up.
struct log_consumer::goal {
    bool is_set = false;
    bool is_end = false;
    std::uint64_t flushes = 0;
    std::uint64_t until = 0;
};

task<> log_consumer::consume() {
    goal towards;
    while (true) {
        const std::uint64_t flushes = backend_->flushes_requested();
        const bool closing = backend_->close_requested();
        const std::uint64_t dumps = backend_->dumps_requested();
        bell_->rung().reset();
        backend_->set_state(log_backend::state::awake);
        hand_on_requests();
        if ((!towards.is_set && flushes != backend_->flushes_done()) ||
            (closing && !towards.is_end)) {
            towards = {.is_set = true,
                       .is_end = closing,
                       .flushes = flushes,
                       .until = backend_->ticks() + (closing ? end_margin_ticks : 0)};
        }
        const std::uint64_t until = towards.is_set ? towards.until : backend_->ticks();
        if (closing) {
            give_up_failing();
        }
        std::size_t bytes = 0;
        {
            const visit here(*this);
            bytes = drain(until);
            if (!is_full_) {
                if (std::exchange(dumps_done_, dumps) != dumps) {
                    std::ranges::for_each(outputs_, [](const auto& each) { each->dump_recent(); });
                }
                tell_held_back(closing);
            }
            push_all();
        }
        idle_naps_ = bytes > 0 ? 0 : idle_naps_ + 1;
        if (is_full_ && !batch_is_full()) {
            continue; // there is room again, and more to take
        }
        if (is_full_) {
            if (towards.is_set && !towards.is_end && only_output_fails()) {
                backend_->finish_flushes(towards.flushes, true);
                towards = {};
            }
            co_await wait_for_progress();
            continue;
        }
        if (towards.is_set) {
            // What was committed before is in the batches once a drain up to a later time has left
            // nothing of it.
            tell_signal(towards.flushes);
            while (!all_settled()) {
                co_await wait_for_progress();
                push_all();
            }
            if (towards.is_end) { // whoever waits for it waits until the sinks are closed
                backend_->finish_flushes(backend_->flushes_done(), any_failing());
                co_return;
            }
            backend_->finish_flushes(towards.flushes, any_failing());
            towards = {};
            continue;
        }
        if (bytes >= busy_bytes) {
            co_await yield();
        } else {
            co_await rest();
        }
    }
}

/// A request wakes nobody but this; consume() sees it, too, so that a flush that comes after it
/// waits for it.
task<> log_consumer::hear_requests(log_consumer& me) {
    file bell(::fcntl(me.backend_->requests().fd(), F_DUPFD_CLOEXEC, 0));
    try {
        while (bell.is_open()) {
            char rings[sizeof(std::uint64_t)];
            (void)co_await bell.read_some(rings);
            me.hand_on_requests();
        }
    } catch (const cancelled&) { // the log ends
    }
}

void log_consumer::hand_on_requests() {
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

// --- draining ---

std::size_t log_consumer::drain(std::uint64_t until) {
    ++counts_.visits;
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
        if (each->dropped_through > each->sequence && each->reader.front() == nullptr)
            [[unlikely]] {
            tell_gap(*each, each->dropped_through); // behind the last that is there
        }
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
        each->dropped_through = each->reader.dropped_through();
        if (!each->reader.begin()) {
            if (each->dropped_through > each->sequence) [[unlikely]] {
                tell_gap(*each, each->dropped_through); // nothing came after it
            }
            continue;
        }
        begun_.push_back(each.get());
        counts_.ring_bytes_high.raise_to(each->reader.used());
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
    group_.push_back({
        .when = clock_.at(frame.ticks),
        .importance = static_cast<level>(frame.importance),
        .is_known_plain = (frame.flags & log_frame::plain) != 0,
        .is_truncated = (frame.flags & log_frame::truncated) != 0,
        .is_kept_only = (frame.flags & log_frame::kept_only) != 0,
        .message = {text, frame.message_bytes},
        .logger = name_of(frame.logger),
        .logger_id = id_in_ring(frame.logger),
        .thread = from.thread,
        .sequence = from.sequence,
        .fields = (frame.flags & log_frame::has_fields) != 0
                      ? std::string_view(text + frame.message_bytes,
                                         frame.bytes - sizeof(log_frame) - frame.message_bytes -
                                             (frame.flags >> log_frame::padding_shift))
                      : std::string_view(),
    });
    if (log_origin origin; origin.take(group_.back().fields)) [[unlikely]] {
        pass_bytes_ += frame.bytes;
        append_from(from, origin);
        return;
    }
    ++from.sequence;
    group_bytes_ += frame.bytes;
    if (group_.size() == group_records_max || group_bytes_ >= group_bytes_max_) [[unlikely]] {
        append_group();
    }
}

/// The newest of the group says itself when and where it was made: it is a group of its own. For a
/// signal handler it is in the ring until it is that, and then no more.
void log_consumer::append_from(log_producer& from, const log_origin& origin) {
    const log_record record = group_.back();
    group_.pop_back();
    append_group();
    const log_thread thread = origin.thread != 0 ? origin.as_thread() : record.thread;
    group_.push_back({.when = origin.when_ns != 0
                                  ? log_record::time_point(wall_clock::duration(origin.when_ns))
                                  : record.when,
                      .importance = record.importance,
                      .is_known_plain = record.is_known_plain,
                      .is_truncated = record.is_truncated,
                      .message = record.message,
                      .logger = record.logger,
                      .logger_id = record.logger_id,
                      .thread = thread,
                      .sequence = record.sequence,
                      .fields = record.fields});
    ++from.sequence;
    append_group();
}

/// Takes records up to `until`, in order. What came later than that waits for the next visit: by
/// then, all that others committed before it is in their rings, too.
void log_consumer::merge(std::uint64_t until) {
    const auto later = [](const source& a, const source& b) { return is_later(a.ticks, b.ticks); };
    std::make_heap(heap_.begin(), heap_.end(), later);
    while (!heap_.empty() && !is_full_) {
        // The two that come first, up to where a third one comes between.
        source two[2] = {};
        for (source& each : two) {
            if (!heap_.empty()) {
                std::pop_heap(heap_.begin(), heap_.end(), later);
                each = heap_.back();
                heap_.pop_back();
            }
        }
        const bool has_third = !heap_.empty() && is_later(until, heap_.front().ticks);
        merge_two(two, has_third ? heap_.front().ticks : until);
        for (const source& each : two) {
            if (each.frame == nullptr) {
                continue;
            }
            if (is_later(each.ticks, until)) {
                left_some_ = true;
            } else {
                heap_.push_back(each);
                std::push_heap(heap_.begin(), heap_.end(), later);
            }
        }
    }
    append_group();
    left_some_ = left_some_ || !heap_.empty();
}

/// Two threads that log at once take turns as if by chance: which one is next is an index, not a
/// branch that the processor would guess wrong half of the time.
void log_consumer::merge_two(source (&two)[2], std::uint64_t until) {
    for (source& each : two) {
        each.ticks = each.frame != nullptr ? each.ticks : until + 1;
    }
    while (true) {
        source& first = two[is_later(two[0].ticks, two[1].ticks) ? 1 : 0];
        if (is_later(first.ticks, until) || is_full_) {
            return;
        }
        log_ring_reader& reader = first.producer->reader;
        take(*first.producer, *first.frame);
        reader.pop(*first.frame);
        first.frame = reader.front();
        first.ticks = first.frame != nullptr ? first.frame->ticks : until + 1;
    }
}

void log_consumer::append_group() {
    if (group_.empty()) {
        return;
    }
    counts_.lines += group_.size(); // before the outputs count them
    for (; group_output_ < outputs_.size(); ++group_output_) {
        outputs_[group_output_]->append(group_);
        is_full_ |= outputs_[group_output_]->must_wait();
    }
    pass_bytes_ += group_bytes_;
    group_.clear();
    group_output_ = 0;
    group_bytes_ = 0;
}

/// One that is no thread's, behind those that were taken.
void log_consumer::append(const log_record& record) {
    append_group();
    ++counts_.lines; // before the outputs count it
    for (const auto& each : outputs_) {
        each->append({&record, 1});
        is_full_ |= each->must_wait();
    }
}

/// Records from the expected one up to `through` are missing: says so, in their place.
void log_consumer::tell_gap(log_producer& from, std::uint64_t through) {
    const std::uint64_t count = through - from.sequence;
    std::uint64_t reasons[drop_reasons];
    std::uint64_t untold = count;
    for (std::size_t i = 0; i < drop_reasons; ++i) {
        // More may have been dropped meanwhile: that is the next gap's.
        const std::uint64_t drops =
            from.reader.drops(static_cast<drop_reason>(i)) - from.told_drops[i];
        reasons[i] = std::min(drops, untold);
        from.told_drops[i] += reasons[i];
        untold -= reasons[i];
    }
    const std::string text = text_of_gap(from, from.sequence, count, reasons);
    append_note(from.thread, from.sequence, text);
    from.sequence = through;
}

/// What the log says itself.
void log_consumer::append_note(const log_thread& thread, std::uint64_t sequence,
                               std::string_view text) {
    ++counts_.notes;
    append({.when = clock_.at(backend_->ticks()),
            .importance = level::warning,
            .is_known_plain = true,
            .is_truncated = false,
            .message = text,
            .logger = log_record::own_name,
            .logger_id = log_record::own_id,
            .thread = thread,
            .sequence = sequence,
            .fields = {}});
}

void log_consumer::tell_records_without_ring() {
    static const log_thread nobody;
    const std::uint64_t dropped = backend_->dropped_without_ring();
    const std::string text =
        fmt::format("{} records of threads that have no memory for a ring are missing",
                    dropped - std::exchange(told_without_ring_, dropped));
    append_note(nobody, 0, text);
}

void log_consumer::learn_names(std::uint16_t id) {
    while (id >= known_names_.size()) {
        known_names_.push_back(names_->of(static_cast<std::uint16_t>(known_names_.size())));
    }
}

/// Rings of threads that are gone, and have nothing more to tell, go.
void log_consumer::release_ended() {
    const visit here(*this);
    std::erase_if(producers_, [this](const auto& each) {
        const bool ended =
            each->has_ended.load(std::memory_order_acquire) ||
            (each->is_late && ::syscall(SYS_tgkill, ::getpid(), each->thread.id, 0) != 0 &&
             errno == ESRCH);
        const bool goes =
            ended && each->reader.used() == 0 && each->reader.dropped_through() <= each->sequence;
        if (goes) {
            backend_->retire(*each);
        }
        return goes;
    });
}

log_stats log_consumer::stats() const {
    log_stats made;
    // What comes late in a record's way is read first: nothing is ever seen to have come out that
    // has not been seen to have gone in.
    for (const auto& each : outputs_) {
        made.outputs.push_back(each->stats());
    }
    const std::uint64_t lines = counts_.lines;
    made.notes = counts_.notes;
    made.taken = lines - std::min(made.notes, lines); // a note is counted before its line
    made.ring_bytes_high = counts_.ring_bytes_high;
    made.visits = counts_.visits;
    for (auto& each : made.outputs) {
        each.in_flight =
            lines + each.notes - each.written - each.unwanted - each.held_back - each.lost;
    }
    backend_->add_stats(made);
    const std::uint64_t rest = made.accepted - made.dropped() - made.taken;
    (backend_->has_finished() ? made.dropped_after_end : made.in_rings) = rest;
    return made;
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
