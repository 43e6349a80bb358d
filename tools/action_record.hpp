// action_record: what a line says of its place in a tree of actions, as eliot writes it and as
// sapwood does. A record names its task, and its place there by `task_level`: [3, 1] is the first
// record of the action that is third in the task, and each action takes its first number for its
// start and its last for its end.
#pragma once

#include "log_line.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

struct action_record {
    enum class role : std::uint8_t { message, start, success, failure, cancelled };

    role is = role::message;
    /// `task_uuid`.
    std::string_view task;
    /// `task_level`: one number at least, none of them 0.
    std::vector<std::uint32_t> level;
    /// The action's type, or the message's, or its text; empty where it has none.
    std::string_view type;
    /// The level's name, of a record that has one and is no start or end of an action.
    std::string_view importance;
    std::optional<std::int64_t> time_ns;
    /// Of an end that tells both, as sapwood's do: how long it took, and how many records and
    /// actions are directly in the action.
    std::optional<std::int64_t> duration_ns;
    std::optional<std::uint64_t> children;
    /// The JSON that says all this, which read_json() reads again.
    std::string_view json;

    [[nodiscard]] bool is_end() const noexcept { return is > role::start; }
};

/// What stands in a record behind what action_record names. Objects, and arrays that hold some, are
/// followed by their members, a step deeper.
struct record_field {
    /// Of left_out, which has no key, the value tells what is not there.
    enum class kind : std::uint8_t { text, escaped, bare, nest, left_out };

    std::uint32_t depth = 0;
    std::string_view key;
    /// Of text as it was meant; otherwise JSON. Of a nest nothing.
    std::string_view value;
    kind is = kind::text;
};

class action_reader {
  public:
    enum class outcome : std::uint8_t {
        record,
        /// It names no task.
        none,
        /// It is no JSON, or has a place that nothing can have; why() tells.
        broken,
    };

    action_reader();
    action_reader(const action_reader&) = delete;
    action_reader& operator=(const action_reader&) = delete;
    ~action_reader();

    /// Whether this build reads JSON; otherwise every line is none.
    [[nodiscard]] static bool is_built() noexcept;

    static constexpr std::string_view why_not_built =
        "trees stand in lines of JSON, and this sapwood was built without simdjson, which reads "
        "them";

    /// A line without its newline, line_padding bytes behind which may be read: JSON, a line of the
    /// collector that holds some, or sapwood's text or logfmt, behind a number or not. The answers
    /// are valid until the next call, and as long as the line is.
    [[nodiscard]] outcome read(std::string_view line);

    /// The same for what record().json was.
    [[nodiscard]] outcome read_json(std::string_view json);

    [[nodiscard]] const action_record& record() const noexcept { return record_; }

    /// Of the last line, whatever it is: its number in a durable log.
    [[nodiscard]] const log_line& numbered() const noexcept { return numbered_; }

    [[nodiscard]] std::string_view why() const noexcept { return why_; }

    /// All that the record says besides; of more than fields_max the rest is one field that tells
    /// how many were left out.
    [[nodiscard]] const std::vector<record_field>& fields();

    /// What a record, as record().json has it, says: of one that is there twice it is the same,
    /// since what the collector says of who has sent it and when is not in it. Empty where it is no
    /// record. Forgets record().
    [[nodiscard]] std::string claim_of(std::string_view json);

    /// A longer line is broken: its JSON would take ten times as much memory.
    static constexpr std::size_t line_bytes_max = 16u << 20;
    /// So deep a place, and such a number in one, no program has.
    static constexpr std::size_t depth_max = 1'000'000;
    static constexpr std::uint64_t number_max = 0xffff'ffff; // as a log counts
    /// A line of brackets has millions, which would take a gigabyte.
    static constexpr std::size_t fields_max = 10'000;

  private:
    struct json_state;

    outcome read_members();
    outcome read_place();

    std::unique_ptr<json_state> json_;
    /// Lines that are no JSON, and what was made of one.
    line_parser others_;
    std::string converted_;
    log_line numbered_;
    action_record record_;
    std::vector<record_field> fields_;
    std::string_view why_;
};

} // namespace sapwood::tools
