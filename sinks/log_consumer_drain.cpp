// From the rings to the outputs' batches: what the consumer does in one visit.
#include "log_visit.hpp"

#include <sapwood/log_consumer.hpp>
#include <sapwood/log_foreign.hpp>

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace sapwood::detail {

namespace {

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

} // namespace sapwood::detail
