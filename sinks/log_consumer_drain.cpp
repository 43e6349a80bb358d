// From the rings to the outputs' batches: what the consumer does in one visit.
#include <sapwood/log_consumer.hpp>

#include "log_gap_text.hpp"

#include <sapwood/log_foreign.hpp>

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <new>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace sapwood::detail {

namespace {

bool is_later(std::uint64_t one, std::uint64_t other) noexcept {
    return static_cast<std::int64_t>(one - other) > 0;
}

} // namespace

std::size_t log_consumer::drain(std::uint64_t until) noexcept {
    ++counts_.visits;
    clock_.refresh();
    pass_bytes_ = 0;
    left_some_ = false;
    has_missed_some_ = false;
    is_full_ = false;
    gather(until);
    if (!visits_.is_lost()) [[likely]] {
        merge(until);
    }
    if (visits_.is_lost()) [[unlikely]] {
        end_lost_visit();
        return pass_bytes_;
    }
    if (backend_->dropped_without_ring() != told_without_ring_) [[unlikely]] {
        tell_records_without_ring();
    }
    for (log_producer* const each : begun_) {
        if (each->dropped_through > each->sequence && each->reader.front() == nullptr)
            [[unlikely]] {
            tell_gap(*each, each->dropped_through); // behind the last that is there
        }
        if (each->reader.end()) {
            backend_->ring_for_room(*each);
        }
    }
    return pass_bytes_;
}

/// A signal handler has emptied the rings, and the program goes on.
void log_consumer::end_lost_visit() noexcept {
    forget_group();
    for (const auto& each : producers_) {
        if (each->reader.end_if_begun()) {
            backend_->ring_for_room(*each);
        }
    }
    has_missed_some_ = true;
}

/// Nothing is begun that cannot be ended.
bool log_consumer::has_memory_to_gather() noexcept {
    try {
        backend_->take_new_producers(producers_);
        heap_.reserve(producers_.capacity());
        begun_.reserve(producers_.capacity());
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

void log_consumer::gather(std::uint64_t until) noexcept {
    heap_.clear();
    begun_.clear();
    if (!has_memory_to_gather()) {
        has_missed_some_ = true;
        return;
    }
    if (was_emptied_in_crash_.exchange(false, std::memory_order_acquire)) [[unlikely]] {
        tell_room_of_crash();
    }
    for (const auto& each : producers_) {
        each->dropped_through = each->reader.dropped_through();
        if (!each->reader.begin()) {
            if (each->dropped_through > each->sequence) [[unlikely]] {
                tell_gap(*each, each->dropped_through); // nothing came after it
                if (visits_.is_lost()) {
                    return;
                }
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

/// To tasks whose ring a signal's handler has emptied, which takes no lock and so rings no bell.
void log_consumer::tell_room_of_crash() noexcept {
    for (const auto& each : producers_) {
        if (each->has_untold_room.exchange(false, std::memory_order_relaxed)) {
            backend_->ring_for_room(*each);
        }
    }
}

/// False where the visit is lost meanwhile: the frame is not there any more.
inline bool log_consumer::take(log_producer& from, const log_frame& frame) noexcept {
    // The numbers in the ring are the lower halves.
    const std::uint32_t missing = frame.sequence - static_cast<std::uint32_t>(from.sequence);
    if (missing != 0) [[unlikely]] {
        tell_gap(from, from.sequence + missing);
        if (visits_.is_lost()) {
            return false;
        }
    }
    const char* const text = reinterpret_cast<const char*>(&frame) + sizeof(log_frame);
    std::string_view fields;
    if ((frame.flags & log_frame::has_fields) != 0) {
        fields = {text + frame.message_bytes, frame.bytes - sizeof(log_frame) -
                                                  frame.message_bytes -
                                                  (frame.flags >> log_frame::padding_shift)};
    }
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
        .fields = fields,
    });
    if (!fields.empty()) {
        if (log_origin origin; origin.take(fields)) [[unlikely]] {
            pass_bytes_ += frame.bytes;
            return append_from(from, origin);
        }
    }
    ++from.sequence;
    group_bytes_ += frame.bytes;
    if (group_.size() == group_records_max || group_bytes_ >= group_bytes_max_) [[unlikely]] {
        append_group();
        return !visits_.is_lost();
    }
    return true;
}

/// The newest of the group says itself when and where it was made: it is a group of its own. For a
/// signal handler it is in the ring until it is that, and then no more.
bool log_consumer::append_from(log_producer& from, const log_origin& origin) noexcept {
    const log_record record = group_.back();
    group_.pop_back();
    append_group();
    if (visits_.is_lost()) {
        return false;
    }
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
    return !visits_.is_lost();
}

/// Takes records up to `until`, in order. What came later than that waits for the next visit: by
/// then, all that others committed before it is in their rings, too.
void log_consumer::merge(std::uint64_t until) noexcept {
    const auto later = [](const source& a, const source& b) { return is_later(a.ticks, b.ticks); };
    std::make_heap(heap_.begin(), heap_.end(), later);
    while (!heap_.empty() && !is_full_ && !visits_.is_lost()) {
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
void log_consumer::merge_two(source (&two)[2], std::uint64_t until) noexcept {
    for (source& each : two) {
        each.ticks = each.frame != nullptr ? each.ticks : until + 1;
    }
    while (true) {
        source& first = two[is_later(two[0].ticks, two[1].ticks) ? 1 : 0];
        if (is_later(first.ticks, until) || is_full_) {
            return;
        }
        log_ring_reader& reader = first.producer->reader;
        if (!take(*first.producer, *first.frame)) [[unlikely]] {
            return;
        }
        reader.pop(*first.frame);
        first.frame = reader.front();
        first.ticks = first.frame != nullptr ? first.frame->ticks : until + 1;
    }
}

void log_consumer::append_group() noexcept {
    if (group_.empty()) {
        return;
    }
    counts_.records += group_.size();
    group_is_counted_ = true;
    for (; group_output_ < outputs_.size(); ++group_output_) {
        log_output& to = *outputs_[group_output_];
        to.append(group_); // where it crashes and survives, there is no group any more
        is_full_ |= to.must_wait();
    }
    pass_bytes_ += group_bytes_;
    forget_group();
}

void log_consumer::forget_group() noexcept {
    group_.clear();
    group_is_counted_ = false;
    group_output_ = 0;
    group_bytes_ = 0;
}

/// What the log says itself, behind the records that were taken.
void log_consumer::append_own(const log_record& record) noexcept {
    append_group();
    ++counts_.notes;
    for (const auto& each : outputs_) {
        each->append({&record, 1});
        is_full_ |= each->must_wait();
    }
}

/// Records from the expected one up to `through` are missing: says so, in their place.
void log_consumer::tell_gap(log_producer& from, std::uint64_t through) noexcept {
    char text[gap_text_bytes_max];
    const std::uint64_t first = from.sequence;
    const std::size_t bytes = put_gap_text(from, through, text);
    append_note(from.thread, first, through - first, {text, bytes});
}

void log_consumer::append_note(const log_thread& thread, std::uint64_t sequence,
                               std::uint64_t missing, std::string_view text) noexcept {
    append_own({.when = clock_.at(backend_->ticks()),
                .importance = level::warning,
                .is_known_plain = true,
                .is_truncated = false,
                .message = text,
                .logger = log_record::own_name,
                .logger_id = log_record::own_id,
                .thread = thread,
                .sequence = sequence,
                .fields = {},
                .missing = missing});
}

void log_consumer::tell_records_without_ring() noexcept {
    static const log_thread nobody;
    const std::uint64_t dropped = backend_->dropped_without_ring();
    const std::uint64_t missing = dropped - std::exchange(told_without_ring_, dropped);
    char text[128];
    const char* const end = fmt::format_to(
        text, "{} record{} of {} no memory for a ring {} missing", missing, missing > 1 ? "s" : "",
        missing > 1 ? "threads that have" : "a thread that has", missing > 1 ? "are" : "is");
    append_note(nobody, 0, missing, {text, static_cast<std::size_t>(end - text)});
}

std::string_view log_consumer::learn_name(std::uint16_t id) noexcept {
    try {
        while (id >= known_names_.size()) {
            known_names_.push_back(names_->of(static_cast<std::uint16_t>(known_names_.size())));
        }
    } catch (const std::bad_alloc&) { // learnt another time
    }
    return names_->of(id);
}

/// Rings of threads that are gone, and have nothing more to tell, go.
void log_consumer::release_ended() {
    const log_visit here(visits_);
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
