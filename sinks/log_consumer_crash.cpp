// What is done with a log by others than its consumer: by a signal handler, when the process
// crashes; by exit() on the consumer's own thread; by who doubles the process.
#include "crash_handler.hpp"
#include "crash_text.hpp"
#include "log_gap_text.hpp"

#include <sapwood/log_consumer.hpp>

#include <algorithm>
#include <cstdint>
#include <mutex>

namespace sapwood::detail {

namespace {

/// Added to a time: later than all that there is.
constexpr std::uint64_t far_future_ticks = std::uint64_t{1} << 62;

/// A full ring of 1 GiB takes so many batches, and some.
constexpr int batches_at_exit_max = 8192;

constexpr std::int64_t lock_patience_ns = 20'000'000;

/// Lines on their way to an output, for the one signal handler that works at a time. Outputs that
/// have none of their own share the last one. Memory that is not used costs nothing.
constexpr std::size_t lines_max = 8;
constexpr std::size_t line_bytes_max = 64u << 10;
char line_memory[lines_max][line_bytes_max];
std::size_t line_bytes[lines_max];
std::uint64_t line_count[lines_max];

/// Who has it lets it go in a moment, unless it is this very thread.
bool try_lock_in_crash(std::mutex& mutex) noexcept {
    for (std::int64_t waited = 0; waited < lock_patience_ns; waited += crash_pause_ns) {
        if (mutex.try_lock()) {
            return true;
        }
        pause_in_crash();
    }
    return false;
}

void write_lines(log_output& to, std::size_t slot) noexcept {
    if (line_bytes[slot] > 0) {
        to.write_in_crash({line_memory[slot], line_bytes[slot]}, line_count[slot]);
        line_bytes[slot] = 0;
        line_count[slot] = 0;
    }
}

/// The line that tells of a signal: which one, in which thread, and `end`. The record borrows it.
class signal_line {
  public:
    signal_line(const signal_note& note, std::string_view end) noexcept
        : text_(memory_, sizeof(memory_)),
          // A number that no thread of the log has; an empty name needs no memory.
          thread_{.id = note.thread, .ordinal = ~note.thread, .name = {}} {
        text_.take(crash_handler::describe(note, text_.end_of_text()));
        text_.put(" in thread ");
        text_.put_decimal(note.thread);
        text_.put(end);
    }

    signal_line(const signal_line&) = delete;
    signal_line& operator=(const signal_line&) = delete;
    ~signal_line() = default;

    [[nodiscard]] log_record record(log_record::time_point when) const noexcept {
        return {.when = when,
                .importance = level::critical,
                .is_known_plain = true,
                .is_truncated = false,
                .message = text_.text(),
                .logger = log_record::own_name,
                .logger_id = log_record::own_id,
                .thread = thread_,
                .sequence = 0,
                .fields = {}};
    }

  private:
    char memory_[crash_handler::text_bytes_max + 128]{};
    crash_text text_;
    log_thread thread_;
};

} // namespace

// --- fork ---

void log_consumer::lock_for_fork() {
    visits_.lock_for_fork();
}

void log_consumer::unlock_after_fork() {
    visits_.unlock_after_fork();
}

// --- exit ---

void log_consumer::write_rest_at_exit() noexcept {
    for (int i = 0; i < batches_at_exit_max; ++i) {
        if (visits_.is_going_on()) { // a filter that exits is in the middle of it
            write_half_done_at_exit();
            break;
        }
        const std::size_t bytes = drain(backend_->ticks() + far_future_ticks);
        if (!left_some_) {
            tell_held_back(true);
        }
        for (const auto& each : outputs_) {
            each->write_batches_in_crash(true);
        }
        if (bytes == 0 && !left_some_) {
            break;
        }
    }
}

/// What the visit has left half done, nobody ends any more: as after a crash.
void log_consumer::write_half_done_at_exit() noexcept {
    for (const auto& each : outputs_) {
        each->write_batches_in_crash(true);
    }
    write_rings_in_crash();
}

// --- crash ---

void log_consumer::tell_signal(std::uint64_t flush) noexcept {
    const signal_note* const note = backend_->take_note(flush);
    if (note == nullptr) [[likely]] {
        return;
    }
    const signal_line line(*note, ": what was logged before it is above");
    const log_visit here(visits_);
    append_own(line.record(clock_.at(backend_->ticks())));
    push_all();
}

void log_consumer::note_crash_of_its_thread() noexcept {
    if (is_of_this_thread()) {
        has_crashed_.store(true, std::memory_order_seq_cst);
    }
}

void log_consumer::begin_crash(const signal_note& note) noexcept {
    crash_flush_.store(0, std::memory_order_relaxed);
    if (!has_crashed_.load(std::memory_order_seq_cst)) {
        crash_flush_.store(backend_->ask_in_crash(note), std::memory_order_relaxed);
    }
}

bool log_consumer::may_answer() const noexcept {
    return !has_crashed_.load(std::memory_order_seq_cst) &&
           backend_->flushes_done() < crash_flush_.load(std::memory_order_relaxed);
}

void log_consumer::end_crash(const signal_note& note) noexcept {
    const std::uint64_t number = crash_flush_.load(std::memory_order_relaxed);
    const bool has_answered = number != 0 && backend_->flushes_done() >= number;
    if (!has_answered || backend_->last_flush_failed()) {
        visits_.take_over(has_crashed_);
        for (const auto& each : outputs_) {
            each->write_batches_in_crash();
        }
        if (!has_answered) {
            (void)backend_->take_note(~std::uint64_t{0});
            for (std::size_t i = 0; i < outputs_.size(); ++i) {
                put_recent_in_crash(i);
            }
            put_signal_in_crash(note);
        }
        write_rings_in_crash();
    }
    visits_.give_back();
    has_crashed_.store(false, std::memory_order_seq_cst);
}

void log_consumer::write_rings_in_crash() noexcept {
    const bool is_locked = try_lock_in_crash(backend_->mutex());
    const auto& fresh = backend_->new_producers();
    const auto for_each_producer = [&](auto&& call) {
        for (const auto& each : producers_) {
            call(*each);
        }
        for (const auto& each : fresh) {
            call(*each);
        }
    };
    write_group_in_crash();
    for_each_producer([](log_producer& each) { each.reader.begin_again(); });
    while (true) {
        log_producer* from = nullptr;
        const log_frame* oldest = nullptr;
        for_each_producer([&](log_producer& each) {
            const log_frame* const frame = each.reader.front();
            if (frame != nullptr && (oldest == nullptr ||
                                     static_cast<std::int64_t>(oldest->ticks - frame->ticks) > 0)) {
                oldest = frame;
                from = &each;
            }
        });
        if (oldest == nullptr) {
            break;
        }
        put_in_crash(*from, *oldest);
        from->reader.pop(*oldest);
    }
    for_each_producer([this](log_producer& each) {
        const std::uint64_t through = each.reader.dropped_through();
        if (through > each.sequence) {
            put_gap_in_crash(each, through);
        }
    });
    // In a visit that is lost, the consumer still looks at frames: it gives their memory back
    // itself.
    if (!visits_.is_lost_in_crash()) {
        for (const auto& each : producers_) {
            end_in_crash(*each);
        }
    }
    for (const auto& each : fresh) {
        end_in_crash(*each);
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        write_lines(*outputs_[i], std::min(i, lines_max - 1));
    }
    if (is_locked) {
        backend_->mutex().unlock();
    }
}

/// Tasks that wait for the room are told by the consumer, where the process survives.
void log_consumer::end_in_crash(log_producer& of) noexcept {
    if (of.reader.end_if_begun()) {
        of.has_untold_room.store(true, std::memory_order_relaxed);
        was_emptied_in_crash_.store(true, std::memory_order_release);
    }
}

/// The records that the consumer was rendering when it crashed, to those that do not have them.
void log_consumer::write_group_in_crash() noexcept {
    if (!group_is_counted_) {
        counts_.records += group_.size();
    }
    for (std::size_t i = group_output_; i < outputs_.size() && !group_.empty(); ++i) {
        std::size_t done = 0;
        if (i == group_output_ && group_is_counted_) {
            done = outputs_[i]->taken();
            outputs_[i]->stop_taking_in_crash();
        }
        for (std::size_t record = done; record < group_.size(); ++record) {
            put_record_in_crash(group_[record], i);
        }
    }
    const bool is_being_given = group_is_counted_;
    forget_group();
    group_output_ = is_being_given ? outputs_.size() : 0; // to nobody else
}

void log_consumer::put_in_crash(log_producer& from, const log_frame& frame) noexcept {
    const auto missing =
        static_cast<std::int32_t>(frame.sequence - static_cast<std::uint32_t>(from.sequence));
    if (missing < 0) {
        return; // it is of the group that the crash came into
    }
    if (missing > 0) {
        put_gap_in_crash(from, from.sequence + static_cast<std::uint32_t>(missing));
    }
    const char* const text = reinterpret_cast<const char*>(&frame) + sizeof(log_frame);
    const std::size_t text_bytes =
        frame.bytes - sizeof(log_frame) - (frame.flags >> log_frame::padding_shift);
    const std::size_t message_bytes = std::min<std::size_t>(frame.message_bytes, text_bytes);
    const std::string_view fields =
        (frame.flags & log_frame::has_fields) != 0
            ? std::string_view(text + message_bytes, text_bytes - message_bytes)
            : std::string_view();
    log_origin origin;
    (void)origin.take(fields);
    const log_thread foreign = origin.as_thread(); // an empty name needs no memory
    ++counts_.records;
    put_record_in_crash({
        .when = origin.when_ns != 0 ? log_record::time_point(wall_clock::duration(origin.when_ns))
                                    : clock_.at(frame.ticks),
        .importance = static_cast<level>(frame.importance),
        .is_known_plain = false,
        .is_truncated = (frame.flags & log_frame::truncated) != 0,
        .is_kept_only = (frame.flags & log_frame::kept_only) != 0,
        .message = {text, message_bytes},
        .logger = name_in_crash(frame.logger),
        .logger_id = id_in_ring(frame.logger),
        .thread = origin.thread != 0 ? foreign : from.thread,
        .sequence = from.sequence,
        .fields = fields,
    });
    ++from.sequence;
}

void log_consumer::put_gap_in_crash(log_producer& from, std::uint64_t through) noexcept {
    char memory[gap_text_bytes_max];
    const std::uint64_t first = from.sequence;
    const std::size_t bytes = put_gap_text(from, through, memory);
    put_own_in_crash({.when = clock_.at(backend_->ticks()),
                      .importance = level::warning,
                      .is_known_plain = true,
                      .is_truncated = false,
                      .message = {memory, bytes},
                      .logger = log_record::own_name,
                      .logger_id = log_record::own_id,
                      .thread = from.thread,
                      .sequence = first,
                      .fields = {}});
}

void log_consumer::put_signal_in_crash(const signal_note& note) noexcept {
    const signal_line line(note, ": the signal's handler writes this and what follows");
    put_own_in_crash(line.record(clock_.at(backend_->ticks())));
}

void log_consumer::put_own_in_crash(const log_record& record) noexcept {
    ++counts_.notes;
    put_record_in_crash(record);
}

void log_consumer::put_record_in_crash(const log_record& record) noexcept {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        put_record_in_crash(record, i);
    }
}

void log_consumer::put_record_in_crash(const log_record& record, std::size_t output) noexcept {
    if (outputs_[output]->wants(record)) {
        put_line_in_crash(record, output);
    } else {
        outputs_[output]->count_unwanted_in_crash();
    }
}

/// What an output keeps for an error: before the signal's line, as before any other of that level.
void log_consumer::put_recent_in_crash(std::size_t output) noexcept {
    log_output& to = *outputs_[output];
    const recent_lines* const recent = to.take_recent_in_crash();
    if (recent == nullptr) {
        return;
    }
    char memory[128];
    crash_text text(memory, sizeof(memory));
    text.put("kept until now, too low to be written: ");
    text.put_decimal(recent->lines());
    text.put(recent->lines() > 1 ? " records" : " record");
    if (recent->forgotten() > 0) {
        text.put(", and ");
        text.put_decimal(recent->forgotten());
        text.put(" before them");
    }
    const log_thread nobody;                      // an empty name needs no memory
    to.count_notes_in_crash(1 + recent->lines()); // they had been unwanted
    put_line_in_crash({.when = clock_.at(backend_->ticks()),
                       .importance = level::info,
                       .is_known_plain = true,
                       .is_truncated = false,
                       .message = text.text(),
                       .logger = log_record::own_name,
                       .logger_id = log_record::own_id,
                       .thread = nobody,
                       .sequence = 0,
                       .fields = {}},
                      output);
    write_lines(to, std::min(output, lines_max - 1));
    const std::string_view lines = recent->text();
    to.write_in_crash({lines.data(), lines.size()}, recent->lines());
}

void log_consumer::put_line_in_crash(const log_record& record, std::size_t output) noexcept {
    log_output& to = *outputs_[output];
    const std::size_t slot = std::min(output, lines_max - 1);
    // Nothing that is escaped grows to more than six times its size.
    const std::size_t needed =
        crash_line_bytes_min + 6 * (record.message.size() + record.fields.size());
    if (line_bytes_max - line_bytes[slot] < needed) {
        write_lines(to, slot);
    }
    crash_text line(line_memory[slot] + line_bytes[slot], line_bytes_max - line_bytes[slot]);
    put_crash_line(record, to.form_in_crash(), line);
    line_bytes[slot] += line.size();
    ++line_count[slot];
    if (slot == lines_max - 1) {
        write_lines(to, slot);
    }
}

std::string_view log_consumer::name_in_crash(std::uint16_t id) const noexcept {
    return id < known_names_.size() ? known_names_[id] : names_->name_in_crash(id);
}

} // namespace sapwood::detail
