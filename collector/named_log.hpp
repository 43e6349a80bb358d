// named_log: one of the logs that a collector keeps: its pipeline, the form of its lines, what an
// acknowledgement means where a client asks for none. Loop thread only.
#pragma once

#include "source.hpp"

#include <sapwood/level.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/retention.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sapwood::collector {

/// How a record stands in the log; docs/collector.md shows each.
enum class log_form : std::uint8_t {
    /// The plain or numbered line of a pipeline, with the source in brackets before the message.
    text,
    /// An object a line.
    json,
    logfmt,
};

[[nodiscard]] std::optional<log_form> parse_log_form(std::string_view name) noexcept;

/// What is true of a record when its sender is told that all is well.
enum class ack_level : std::uint8_t {
    /// It is in memory.
    accepted,
    /// The kernel has it: it survives this process.
    written,
    /// It survives the machine.
    durable,
};

[[nodiscard]] std::optional<ack_level> parse_ack_level(std::string_view name) noexcept;
[[nodiscard]] std::string_view to_string(ack_level level) noexcept;

struct named_log_options {
    /// What clients call it: letters, digits, `.`, `-` and `_`, of which the first is no dot.
    std::string name;
    std::string path;
    log_form form = log_form::text;
    durability durable = durability::batch();
    /// Where a client says nothing. None: durable where the log is, otherwise written.
    std::optional<ack_level> ack;
    /// Records in memory; 1 MiB where they are short.
    std::size_t queue_records = 8192;
    /// Of records that are not in the file yet: past it no more are taken. At least 1 MiB.
    std::size_t queue_bytes = 64u << 20;
    /// See pipeline_options.
    clock::duration give_up_after = std::chrono::seconds(5);
    /// While one batch is written another one fills: with room in it, records need no memory of
    /// their own.
    std::size_t batch_bytes = 1u << 20;
    /// See pipeline_options.
    std::uint64_t segment_bytes_max = 0;
    /// See file_sink_options. Of logs in text that are synced only.
    std::size_t preallocated_bytes = 0;
    /// Of segments.
    retention keep;
};

/// Throws std::invalid_argument that names the log and the option.
void require_valid(const named_log_options& options);

class named_log {
  public:
    /// Throws std::system_error where it cannot be opened, std::invalid_argument that names the
    /// option.
    [[nodiscard]] static task<named_log> open(named_log_options options);

    named_log(named_log_options options, pipeline log);

    [[nodiscard]] const std::string& name() const noexcept { return options_.name; }

    [[nodiscard]] const named_log_options& options() const noexcept { return options_; }

    [[nodiscard]] pipeline& log() noexcept { return log_; }

    [[nodiscard]] const pipeline& log() const noexcept { return log_; }

    [[nodiscard]] ack_level default_ack() const noexcept { return default_ack_; }

    /// Whether `level` will ever be told of this log's records.
    [[nodiscard]] bool can_tell(ack_level level) const noexcept {
        return level != ack_level::durable || !options_.durable.is_none();
    }

    /// Why it takes no records now, where its disk refuses them.
    [[nodiscard]] std::error_code refusal() const noexcept { return log_.health().reason; }

    /// Records of `bytes` were appended to log(), the last one at `place`.
    void note_given(std::size_t bytes, lsn place) noexcept;

    /// No more bytes are to be given to it now.
    [[nodiscard]] bool is_full() noexcept;

    /// Records of so many bytes wait outside of it for room in log(), besides those that do
    /// already; or do no longer.
    void count_blocked(std::size_t more, std::size_t fewer) noexcept {
        blocked_bytes_ += more;
        blocked_bytes_ -= fewer;
    }

    /// Together. Each connection may have a request's records; see is_over_blocked().
    [[nodiscard]] std::size_t blocked_bytes() const noexcept { return blocked_bytes_; }

    /// More of them than queue_bytes do: nobody else's should.
    [[nodiscard]] bool is_over_blocked() const noexcept {
        return blocked_bytes_ > options_.queue_bytes;
    }

    /// Half of its queue is free.
    [[nodiscard]] bool has_room_for_many() const noexcept;

    /// Waits until the oldest of what fills it is in the file, or never will be.
    [[nodiscard]] receipt room() noexcept { return log_.written(given_.front().up_to); }

    /// A record as it goes into the pipeline, until the next one is encoded; it came at `when`.
    /// `json` is a valid object. Throws std::bad_alloc.
    [[nodiscard]] record_view encode_json(const source& from, level importance,
                                          std::string_view json,
                                          wall_clock::time_point when = wall_clock::now(),
                                          std::span<const note> notes = {});

    /// The same of a text of any bytes.
    [[nodiscard]] record_view encode_text(const source& from, level importance,
                                          std::string_view text, std::span<const note> notes = {});

  private:
    /// Records that were appended one after the other.
    struct piece {
        lsn up_to = lsn::none;
        std::size_t bytes = 0;
    };

    named_log_options options_;
    pipeline log_;
    ack_level default_ack_;
    /// What may not be in the file yet, oldest first, and its bytes together.
    std::deque<piece> given_;
    std::size_t given_bytes_ = 0;
    std::size_t blocked_bytes_ = 0;
    /// Of the record that is encoded; kept for its memory.
    std::string scratch_;
    /// What stands before the records of the source that was the last one: `[name] `, and its name.
    std::string head_;
    std::string head_of_;
};

/// Whether `name` may name a log.
[[nodiscard]] bool is_log_name(std::string_view name) noexcept;

} // namespace sapwood::collector
