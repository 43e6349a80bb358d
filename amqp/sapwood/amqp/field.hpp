// Tables, as headers of messages and arguments of queues are: names with values. Values of any
// thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace sapwood::amqp {

struct field;
struct field_value;

/// In the order in which they came.
using table = std::vector<field>;
using list = std::vector<field_value>;

// Of a table that comes: what is more is left out (properties::are_headers_left_out).

/// A table in a table in a table ...
inline constexpr int table_depth_max = 16;
/// In all of them.
inline constexpr int table_values_max = 1024;

struct field_value {
    using any = std::variant<std::monostate, bool, std::int64_t, double, std::string, list, table>;

    // All are defined where a field is known, which a table needs.

    field_value();
    field_value(bool from);

    template <class T>
        requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
    field_value(T from);

    field_value(double from);
    field_value(std::string from);
    field_value(std::string_view from);
    field_value(const char* from);
    field_value(list from);
    field_value(table from);
    field_value(const field_value&);
    field_value(field_value&&) noexcept;
    field_value& operator=(const field_value&);
    field_value& operator=(field_value&&) noexcept;
    ~field_value();

    any value;
};

struct field {
    std::string name;
    field_value value;
};

template <class T>
    requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
field_value::field_value(T from) : value(static_cast<std::int64_t>(from)) {}

/// The first of that name; null where there is none.
[[nodiscard]] const field_value* find(const table& in, std::string_view name) noexcept;

/// The text of that name; empty where there is none, or it is no text.
[[nodiscard]] std::string_view text_of(const table& in, std::string_view name) noexcept;

} // namespace sapwood::amqp
