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

/// `key` may be any text: what cannot stand in a key is escaped, reversibly. Numbers and booleans
/// stay what they are in JSON; everything else is text, formatted as `{}` formats it.
template <class T>
[[nodiscard]] constexpr log_field<T> kv(std::string_view key, const T& value) noexcept {
    return {key, value};
}

namespace detail {

template <class T>
inline constexpr bool is_log_field = false;
template <class T>
inline constexpr bool is_log_field<log_field<T>> = true;

/// What a field is, and so how formats write it. Those from `location` on are what a record says of
/// itself; `origin`, the first where there is one, and `site`, eight bytes that stand for the place
/// of the call, are for the consumer only.
enum class log_field_kind : std::uint8_t {
    text,
    number,
    boolean,
    location,
    function,
    task,
    origin,
    site,
    // Of a record in an action, see log_action.hpp: its place, which is a UUID and the numbers of
    // its level; and of an action's first and last record what it says. `duration` is eight bytes,
    // nanoseconds, `children` four.
    place,
    status,
    exception,
    reason,
    source,
    duration,
    children,
    // The same in one field, for most: of a first record its place; of one that ended well the
    // duration, the children and the place.
    begun,
    succeeded,
};

/// A field in the ring: this, the key, the value; nothing is aligned.
struct log_field_header {
    std::uint32_t value_bytes;
    std::uint16_t key_bytes;
    log_field_kind kind;
};

inline constexpr std::size_t log_field_header_bytes = 7;
/// Longer keys are cut.
inline constexpr std::size_t log_key_bytes_max = 1024;

inline void put_field_header(char* to, log_field_header header) noexcept {
    std::memcpy(to, &header.value_bytes, 4);
    std::memcpy(to + 4, &header.key_bytes, 2);
    std::memcpy(to + 6, &header.kind, 1);
}

/// A field whose text is known.
template <class Text>
class log_field_text {
  public:
    log_field_text(std::string_view key, log_field_kind kind, Text&& value)
        : key_(key.substr(0, log_key_bytes_max)),
          value_(std::move(value)),
          kind_(kind) {}

    [[nodiscard]] std::size_t size_max() const noexcept {
        return log_field_header_bytes + key_.size() + value_.size_max();
    }

    /// Whether its text needs no escaping is the forms' to see.
    [[nodiscard]] static constexpr bool plain() noexcept { return true; }

    [[nodiscard]] static constexpr bool accepts() noexcept { return true; }

    char* put(char* to) const noexcept {
        char* const key = to + log_field_header_bytes;
        char* const value = key + key_.copy(key, key_.size()); // most often a literal
        char* const end = value_.put(value);
        put_field_header(to, {static_cast<std::uint32_t>(end - value),
                              static_cast<std::uint16_t>(key_.size()), kind_});
        return end;
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
    return log_field_text(field.key, kind, log_text(field.value, {}));
}

} // namespace detail

} // namespace sapwood
