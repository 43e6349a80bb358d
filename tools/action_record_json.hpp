// The part of action_reader that reads JSON, by simdjson where the build has it; without it no line
// is a record.
#pragma once

#include "action_record.hpp"

#ifdef SAPWOOD_HAS_SIMDJSON
#include <cstring>
#include <deque>
#include <simdjson.h>
#endif

namespace sapwood::tools {

#ifdef SAPWOOD_HAS_SIMDJSON
/// Whether a key of that size is this one: the size is known where this is asked, and a comparison
/// of so many bytes takes no call.
template <std::size_t Size>
[[gnu::always_inline]] inline bool is_key(std::string_view key, const char (&name)[Size]) noexcept {
    return std::memcmp(key.data(), name, Size - 1) == 0;
}

/// Empty where it is none.
inline std::string_view text_in(const simdjson::dom::element& value) noexcept {
    std::string_view text;
    return value.get(text) == simdjson::SUCCESS ? text : std::string_view();
}
#endif

struct action_reader::json_state {
    [[nodiscard]] static std::unique_ptr<json_state> make();

#ifdef SAPWOOD_HAS_SIMDJSON
    /// What the members of a record mean, as they were found.
    struct members {
        simdjson::dom::object all;
        std::optional<simdjson::dom::element> task;
        std::optional<simdjson::dom::element> level;
        std::optional<simdjson::dom::element> timestamp;
        std::optional<simdjson::dom::element> time;
        std::optional<simdjson::dom::element> duration;
        std::optional<simdjson::dom::element> children;
        /// The collector's record, and sapwood's own fields of one.
        std::optional<simdjson::dom::object> record;
        std::optional<simdjson::dom::object> fields;
        std::string_view action_type;
        std::string_view action_status;
        std::string_view outcome;
        std::string_view message_type;
        std::string_view text;
        std::string_view importance;
        bool is_action = false;

        void find(const simdjson::dom::object& in);

      private:
        void note_place(std::string_view key, const simdjson::dom::element& value);
        void note_other(std::string_view key, const simdjson::dom::element& value);
    };

    void add_fields(const simdjson::dom::object& of, std::uint32_t depth,
                    std::vector<record_field>& to);
    void add_field(std::string_view key, const simdjson::dom::element& value, std::uint32_t depth,
                   std::vector<record_field>& to);
    [[nodiscard]] bool is_named(std::string_view key) const noexcept;
    /// Whether no more of them are kept; then the one that was to come is counted.
    [[nodiscard]] bool leaves_out(const std::vector<record_field>& of) noexcept;

    simdjson::dom::parser parser{line_bytes_max};
    members found;
    time_reader times;
    /// Of members that are no text.
    std::deque<std::string> texts;
    std::uint64_t left_out = 0;
    /// A line that is no UTF-8, with what is none escaped.
    std::string repaired;
    /// Which of the record's members are shown as something else than a field: it is an end that
    /// tells how long it took and what was in it; its text is its name; it starts or ends an
    /// action; it was cancelled; it has
    /// its time twice, and its thread, as sapwood's have; and its type is its text there.
    bool has_account = false;
    bool is_text_name = false;
    bool has_known_status = false;
    bool is_cancelled = false;
    bool is_sapwoods = false;
    bool is_text_type = false;
    /// Where the place stands among the fields, these are not all the user's.
    bool is_place_nested = false;
#endif
};

} // namespace sapwood::tools
