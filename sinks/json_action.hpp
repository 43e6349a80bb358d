// What a record in an action says of it, as JSON, where that is one field and nothing of it is
// unusual, as in most: read and written in one go, from pieces that are ready. The rest is
// json_layout's. For the consumer's thread; nothing is kept.
#pragma once

#include "json_text.hpp"

#include <sapwood/decimal.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/kv.hpp>
#include <sapwood/log_action_view.hpp>
#include <sapwood/log_place.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sapwood::detail {

/// Nine digits, of less than 10^9: the first eight of them, and the last.
struct nine_digits {
    static constexpr std::size_t count = 9;

    explicit nine_digits(std::uint32_t value) noexcept
        : first(eight_digits(value / 10) | eight_ascii_zeros),
          last(static_cast<char>('0' + value % 10)) {}

    char* put(char* to) const noexcept {
        std::memcpy(to, &first, 8);
        to[8] = last;
        return to + count;
    }

    std::uint64_t first;
    char last;
};

/// Whether the first field is a user's.
[[nodiscard, gnu::always_inline]] inline bool begins_with_users(std::string_view fields) noexcept {
    constexpr std::size_t kind_at = 6;
    return fields.size() >= log_field_header_bytes &&
           static_cast<log_field_kind>(fields[kind_at]) <= log_field_kind::boolean;
}

class json_action {
  public:
    /// Takes what says it off `fields`, of which only the user's are left then. False, and nothing
    /// has changed, where it is not one field, or too long.
    [[nodiscard, gnu::always_inline]] bool take(std::string_view& fields) noexcept {
        constexpr std::size_t kind_at = 6;
        if (fields.size() < log_field_header_bytes) {
            return false;
        }
        log_field_header head{};
        std::memcpy(&head.value_bytes, fields.data(), 4);
        std::memcpy(&head.key_bytes, fields.data() + 4, 2);
        kind_ = static_cast<log_field_kind>(fields[kind_at]);
        if (kind_ != log_field_kind::place && kind_ != log_field_kind::begun &&
            kind_ != log_field_kind::succeeded) {
            return false;
        }
        times_ = fields.data() + log_field_header_bytes;
        place_ = times_ + (kind_ == log_field_kind::succeeded ? log_place::times_bytes : 0);
        const std::size_t bytes = log_field_header_bytes + std::size_t{head.value_bytes};
        place_end_ = fields.data() + bytes;
        const auto level_bytes = static_cast<std::size_t>(place_end_ - place_) -
                                 log_place::uuid_bytes; // huge where there is none
        if (level_bytes - 1 >= level_bytes_max || head.key_bytes != 0 || fields.size() < bytes) {
            return false;
        }
        const std::string_view rest(place_end_, fields.size() - bytes);
        if (!rest.empty() && !begins_with_users(rest)) {
            return false;
        }
        fields = rest;
        return true;
    }

    /// As eliot's records have it: the task, the level, the time in seconds, and what it is. `text`
    /// is the record's, and plain; `digits` are those of the time's fraction: not read out of the
    /// line, where the processor has just written them in other pieces, and would wait for those.
    [[nodiscard, gnu::always_inline]] char* put(char* at, std::string_view text,
                                                const json_stamp& stamp,
                                                std::uint64_t digits) const noexcept {
        static constexpr json_piece uuid_begin(",\"task_uuid\":\"");
        static constexpr json_piece message_begin(",\"message_type\":\"");
        static constexpr json_piece action_begin(",\"action_type\":\"");
        static constexpr json_piece started("\",\"action_status\":\"started\"");
        at = uuid_begin.put(at);
        std::memcpy(at, place_, log_place::uuid_bytes);
        at = stamp.put(put_level(at + log_place::uuid_bytes), digits);
        if (kind_ == log_field_kind::place) {
            at = put_short(message_begin.put(at), text);
            *at++ = '"';
            return at;
        }
        at = put_short(action_begin.put(at), text);
        return kind_ == log_field_kind::begun ? started.put(at) : put_ending(at);
    }

  private:
    /// It is copied by its last sixteen bytes, the first of which are the UUID's: over them what
    /// stands in front of it is put.
    static constexpr std::size_t level_bytes_max = 16;
    static constexpr std::string_view level_begin = "\",\"task_level\":[";
    static_assert(level_begin.size() == level_bytes_max);
    static_assert(level_bytes_max <= log_place::uuid_bytes);

    [[gnu::always_inline]] char* put_level(char* at) const noexcept {
        const auto bytes = static_cast<std::size_t>(place_end_ - place_) - log_place::uuid_bytes;
        std::memcpy(at + bytes, place_end_ - level_bytes_max, level_bytes_max);
        std::memcpy(at, level_begin.data(), level_bytes_max);
        return at + level_bytes_max + bytes;
    }

    /// put_text(), where most are of at most 32 bytes.
    [[gnu::always_inline]] static char* put_short(char* to, std::string_view text) noexcept {
        constexpr std::size_t piece = sizeof(sixteen_chars);
        if (text.size() - piece > piece) {
            return put_text(to, text);
        }
        std::memcpy(to, text.data(), piece);
        std::memcpy(to + text.size() - piece, text.data() + text.size() - piece, piece);
        return to + text.size();
    }

    [[gnu::always_inline]] char* put_ending(char* at) const noexcept {
        static constexpr json_piece succeeded("\",\"action_status\":\"succeeded\",\"duration\":0.");
        static constexpr json_piece children_begin(",\"children\":");
        std::int64_t duration_ns = 0;
        std::uint32_t children = 0;
        std::memcpy(&duration_ns, times_, sizeof(duration_ns));
        std::memcpy(&children, times_ + sizeof(duration_ns), sizeof(children));
        at = succeeded.put(at);
        if (static_cast<std::uint64_t>(duration_ns) < 1'000'000'000) [[likely]] {
            at = nine_digits(static_cast<std::uint32_t>(duration_ns)).put(at);
        } else {
            at -= std::string_view("0.").size();
            at += put_seconds(duration_ns, at).size();
        }
        at = children_begin.put(at);
        if (children < 10) [[likely]] {
            *at++ = static_cast<char>('0' + children);
            return at;
        }
        return put_decimal(at, children);
    }

    log_field_kind kind_{};
    const char* times_ = nullptr;
    const char* place_ = nullptr;
    const char* place_end_ = nullptr;
};

} // namespace sapwood::detail
