// decoded_body: what a body was found to hold by one of the decoders of other programs' interfaces
// (loki_body, bulk_body, hec_body, otlp_body): records, each an object of JSON, as it was sent or
// made of what was; or what is wrong with it. A decoder looks at the whole body before it is done.
// Bounds what comes out, which labels that go with every record can make much more than came in.
// One thread.
#pragma once

#include "json_decoder.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::collector {

struct body_limits {
    json_limits json{};
    /// Of records that are made, together.
    std::size_t made_bytes_max = 64u << 20;
    /// Of those where they are made now; see is_long().
    std::size_t made_bytes_here = made_bytes_max;
    /// Members and elements of a body that is one document, which a parser needs 16 bytes each for.
    std::size_t values_max = 4u << 20;
};

class decoded_body {
  public:
    explicit decoded_body(const body_limits& wanted = {}) noexcept : limits(wanted) {}

    /// For the next body. Memory is kept while it is small.
    void clear() noexcept;

    /// False, where something is wrong with the body: then it has no records.
    [[nodiscard]] bool is_well() const noexcept { return status_ == 0; }

    /// 400 or 413, and why, for the client. What a decoder says first counts.
    [[nodiscard]] unsigned status() const noexcept { return status_; }

    [[nodiscard]] const std::string& error() const noexcept { return error_; }

    /// It is not well because more comes of it than may be made here, whatever else it holds.
    [[nodiscard]] bool is_long() const noexcept { return is_long_; }

    [[nodiscard]] std::size_t size() const noexcept { return items_.size(); }

    /// Until clear(); of a record that was sent as it is, as long as the body.
    [[nodiscard]] json_item operator[](std::size_t index) const noexcept;

    // For decoders. What returns false has called fail().

    bool fail(unsigned status, std::string_view why);

    /// A record as it was sent, and that a parser has looked at.
    bool add(level importance, std::string_view json);

    /// Whether there may be another record, with so many bytes of what was sent in it: to be asked
    /// before text is made JSON of, of which each byte may become six.
    [[nodiscard]] bool has_room(std::size_t record_bytes);

    /// Where the next record is made, from its first bracket to its last.
    [[nodiscard]] std::string& making() noexcept { return made_; }

    /// What was made since the last record is one.
    bool add_made(level importance);

    const body_limits limits;

  private:
    struct item {
        level importance;
        /// Null: it is made_'s from `begin` on.
        const char* sent;
        std::size_t begin;
        std::size_t size;
    };

    std::vector<item> items_;
    std::string made_;
    std::size_t made_end_ = 0;
    unsigned status_ = 0;
    bool is_long_ = false;
    std::string error_;
};

/// `2026-11-26T20:46:54.123456789Z`
void append_unix_time(std::int64_t nanoseconds, std::string& to);

/// A number of decimal digits, with or without a minus, and nothing else.
[[nodiscard]] bool parse_integer(std::string_view text, std::int64_t& number) noexcept;

} // namespace sapwood::collector
