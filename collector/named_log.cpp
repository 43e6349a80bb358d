#include "named_log.hpp"

#include "json_decoder.hpp"
#include "line_form.hpp"

#include <sapwood/escape.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace sapwood::collector {

namespace {

constexpr std::size_t name_bytes_max = 64;

/// Records are not counted one by one: so many bytes of them are let go of together.
constexpr std::size_t piece_bytes = 256u << 10;
constexpr std::size_t queue_bytes_min = 1u << 20;

/// Far less than anybody can want: it was meant in other units.
constexpr std::uint64_t segment_bytes_min = 1000;
constexpr std::size_t preallocated_bytes_min = 4096;

ack_level default_ack_of(const named_log_options& options) {
    if (options.ack == ack_level::durable && options.durable.is_none()) {
        throw std::invalid_argument(fmt::format(
            "log {}: ack is durable, but durability is none: nothing ever would be; set "
            "durability to batch, or ack to written",
            options.name));
    }
    return options.ack.value_or(options.durable.is_none() ? ack_level::written
                                                          : ack_level::durable);
}

pipeline_options pipeline_options_of(const named_log_options& options) {
    return {.queue_records = options.queue_records,
            .batch_bytes = options.batch_bytes,
            .form = options.form == log_form::text ? layout::automatic : layout::verbatim,
            .durable = options.durable,
            .refused = when_refused::block,
            .give_up_after = options.give_up_after,
            .segment_bytes_max = options.segment_bytes_max};
}

} // namespace

std::optional<log_form> parse_log_form(std::string_view name) noexcept {
    if (name == "text") {
        return log_form::text;
    }
    if (name == "json") {
        return log_form::json;
    }
    return name == "logfmt" ? std::optional(log_form::logfmt) : std::nullopt;
}

std::optional<ack_level> parse_ack_level(std::string_view name) noexcept {
    if (name == "durable") {
        return ack_level::durable;
    }
    if (name == "written") {
        return ack_level::written;
    }
    return name == "accepted" ? std::optional(ack_level::accepted) : std::nullopt;
}

std::string_view to_string(ack_level level) noexcept {
    switch (level) {
    case ack_level::accepted:
        return "accepted";
    case ack_level::written:
        return "written";
    case ack_level::durable:
        break;
    }
    return "durable";
}

bool is_log_name(std::string_view name) noexcept {
    const auto is_word = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '-' || c == '_';
    };
    return !name.empty() && name.size() <= name_bytes_max && name.front() != '.' &&
           std::ranges::all_of(name, is_word);
}

void require_valid(const named_log_options& options) {
    if (!is_log_name(options.name)) {
        throw std::invalid_argument(
            fmt::format("a log's name has letters, digits, '.', '-' and '_', at most {} of them, "
                        "and begins with no dot: \"{}\" is none",
                        name_bytes_max, options.name));
    }
    if (options.path.empty()) {
        throw std::invalid_argument(fmt::format("log {}: its path is missing", options.name));
    }
    if (options.queue_records == 0 || options.queue_records > channel<record>::capacity_max) {
        throw std::invalid_argument(
            fmt::format("log {}: queue_records must be 1 to 2^30", options.name));
    }
    if (options.queue_bytes < queue_bytes_min) {
        throw std::invalid_argument(
            fmt::format("log {}: queue_bytes must be at least {}", options.name, queue_bytes_min));
    }
    if (options.preallocated_bytes != 0 &&
        (options.durable.is_none() || options.form != log_form::text)) {
        throw std::invalid_argument(fmt::format(
            "log {}: preallocate_bytes is for logs that are synced and whose format is text: what "
            "a crash leaves behind the last line of another cannot be told from lines",
            options.name));
    }
    if (options.segment_bytes_max != 0 && options.segment_bytes_max < segment_bytes_min) {
        throw std::invalid_argument(
            fmt::format("log {}: segment_bytes is {} at least, or each few records are a file",
                        options.name, segment_bytes_min));
    }
    if (options.preallocated_bytes != 0 && options.preallocated_bytes < preallocated_bytes_min) {
        throw std::invalid_argument(
            fmt::format("log {}: preallocate_bytes is {} at least, as 1048576 is", options.name,
                        preallocated_bytes_min));
    }
    if (options.preallocated_bytes > file_sink_options::preallocated_bytes_max) {
        throw std::invalid_argument(fmt::format("log {}: preallocate_bytes is {} at most",
                                                options.name,
                                                file_sink_options::preallocated_bytes_max));
    }
    if (!options.keep.is_unlimited() && options.segment_bytes_max == 0) {
        throw std::invalid_argument(
            fmt::format("log {}: what is to be kept of its segments is said, and there are none "
                        "without segment_bytes",
                        options.name));
    }
    (void)default_ack_of(options);
}

task<named_log> named_log::open(named_log_options options) {
    require_valid(options);
    const file_sink_options file{.path = options.path,
                                 .preallocated_bytes = options.preallocated_bytes};
    const pipeline_options wanted = pipeline_options_of(options);
    pipeline log = co_await pipeline::open(file, wanted);
    co_return named_log(std::move(options), std::move(log));
}

named_log::named_log(named_log_options options, pipeline log)
    : options_(std::move(options)),
      log_(std::move(log)),
      default_ack_(default_ack_of(options_)) {}

void named_log::note_given(std::size_t bytes, lsn place) noexcept {
    if (given_.empty() || given_.back().bytes >= piece_bytes) {
        try {
            given_.push_back({place, 0});
        } catch (const std::bad_alloc&) {
            if (given_.empty()) {
                return; // these are not counted
            }
        }
    }
    given_.back().up_to = place;
    given_.back().bytes += bytes;
    given_bytes_ += bytes;
}

bool named_log::is_full() noexcept {
    if (given_bytes_ <= options_.queue_bytes) {
        return false;
    }
    while (!given_.empty() && log_.written(given_.front().up_to).await_ready()) {
        given_bytes_ -= given_.front().bytes;
        given_.pop_front();
    }
    return given_bytes_ > options_.queue_bytes;
}

bool named_log::has_room_for_many() const noexcept {
    return log_.counts().queued <= options_.queue_records / 2;
}

record_view named_log::encode_json(const source& from, level importance, std::string_view json,
                                   wall_clock::time_point when, std::span<const note> notes) {
    if (options_.form == log_form::text && notes.empty() && is_printable(json)) [[likely]] {
        // Nearly all are: copied once, into what is written.
        if (head_of_ != from.name) [[unlikely]] {
            head_.clear();
            append_text_head(from, {}, head_);
            head_of_ = from.name;
        }
        return {when, from.producer, importance, head_, json};
    }
    scratch_.clear();
    switch (options_.form) {
    case log_form::text:
        append_text_head(from, notes, scratch_);
        append_json_line(json, scratch_);
        break;
    case log_form::json:
        append_json_head(from, importance, notes, scratch_);
        scratch_ += "\"record\":";
        append_json_line(json, scratch_);
        scratch_ += '}';
        break;
    case log_form::logfmt:
        append_logfmt_head(from, importance, notes, scratch_);
        append_logfmt_members(json, scratch_);
        break;
    }
    return {when, from.producer, importance, scratch_, {}};
}

record_view named_log::encode_text(const source& from, level importance, std::string_view text,
                                   std::span<const note> notes) {
    scratch_.clear();
    switch (options_.form) {
    case log_form::text:
        append_text_head(from, notes, scratch_);
        escape(text, scratch_);
        break;
    case log_form::json:
        append_json_head(from, importance, notes, scratch_);
        append_json_member("message", text, scratch_);
        scratch_ += '}';
        break;
    case log_form::logfmt:
        append_logfmt_head(from, importance, notes, scratch_);
        scratch_ += "message=";
        append_logfmt_text(text, scratch_);
        break;
    }
    return {wall_clock::now(), from.producer, importance, scratch_, {}};
}

} // namespace sapwood::collector
