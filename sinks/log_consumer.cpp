#include <sapwood/log_consumer.hpp>

#include "crash_handler.hpp"

#include <sapwood/file.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <exception>
#include <fcntl.h>
#include <new>
#include <optional>
#include <utility>

namespace sapwood::detail {

namespace {

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
            me.backend_->ring_for_room(*each);
        }
    }
    me.bell_->retire();
    me.end_watch();
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
