// Structured fields of a log record: `log.warn("cache miss", kv("key", key), kv("age", age))`.
#pragma once

#include <sapwood/log_text.hpp>

#include <string_view>

namespace sapwood {

/// A key and a borrowed value, for the call that it stands in.
template <class T>
struct log_field {
    std::string_view key;
    const T& value;
};

/// `key` may be any text: what is no sensible key is escaped. Numbers and booleans stay what they
/// are in JSON; everything else is text, formatted as `{}` formats it.
template <class T>
[[nodiscard]] constexpr log_field<T> kv(std::string_view key, const T& value) noexcept {
    return {key, value};
}

namespace detail {

template <class T>
inline constexpr bool is_log_field = false;
template <class T>
inline constexpr bool is_log_field<log_field<T>> = true;

/// What a field is, and so how formats write it. The last four are what a record says of itself;
/// `site`, eight bytes that stand for the place of the call, is never written.
enum class log_field_kind : std::uint8_t { text, number, boolean, location, function, task, site };

/// A field in the ring: this, the key, the value; nothing is aligned.
struct log_field_header {
    std::uint32_t value_bytes;
    std::uint16_t key_bytes;
    log_field_kind kind;
};

inline constexpr std::size_t log_field_header_bytes = 7;
/// Longer keys are cut.
inline constexpr std::size_t log_key_bytes_max = 1024;

inline char* put_field_header(char* to, log_field_header header) noexcept {
    std::memcpy(to, &header.value_bytes, 4);
    std::memcpy(to + 4, &header.key_bytes, 2);
    std::memcpy(to + 6, &header.kind, 1);
    return to + log_field_header_bytes;
}

/// A field whose text is known.
template <class Text>
class log_field_text {
  public:
    log_field_text(std::string_view key, log_field_kind kind, Text&& value)
        : key_(key.substr(0, log_key_bytes_max)),
          value_(std::move(value)),
          kind_(kind) {}

    [[nodiscard]] std::size_t size() const noexcept {
        return log_field_header_bytes + key_.size() + value_.size();
    }

    char* put(char* to) const noexcept {
        to = put_field_header(to, {static_cast<std::uint32_t>(value_.size()),
                                   static_cast<std::uint16_t>(key_.size()), kind_});
        return value_.put(to + key_.copy(to, key_.size()));
    }

  private:
    std::string_view key_;
    Text value_;
    log_field_kind kind_;
};

template <class T>
[[nodiscard]] inline auto field_text(const log_field<T>& field) {
    constexpr auto kind = log_number<T>           ? log_field_kind::number
                          : std::same_as<T, bool> ? log_field_kind::boolean
                                                  : log_field_kind::text;
    return log_field_text(field.key, kind, log_text(field.value, -1));
}

} // namespace detail

} // namespace sapwood
