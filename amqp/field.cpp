#include <sapwood/amqp/field.hpp>

#include <algorithm>
#include <utility>

namespace sapwood::amqp {

field_value::field_value() = default;

field_value::field_value(bool from) : value(from) {}

field_value::field_value(double from) : value(from) {}

field_value::field_value(std::string from) : value(std::move(from)) {}

field_value::field_value(std::string_view from) : value(std::string(from)) {}

field_value::field_value(const char* from) : value(std::string(from)) {}

field_value::field_value(list from) : value(std::move(from)) {}

field_value::field_value(table from) : value(std::move(from)) {}

field_value::field_value(const field_value&) = default;
field_value::field_value(field_value&&) noexcept = default;
field_value& field_value::operator=(const field_value&) = default;
field_value& field_value::operator=(field_value&&) noexcept = default;
field_value::~field_value() = default;

const field_value* find(const table& in, std::string_view name) noexcept {
    const auto found = std::ranges::find(in, name, &field::name);
    return found == in.end() ? nullptr : &found->value;
}

std::string_view text_of(const table& in, std::string_view name) noexcept {
    const field_value* const found = find(in, name);
    const auto* const text = found == nullptr ? nullptr : std::get_if<std::string>(&found->value);
    return text == nullptr ? std::string_view() : std::string_view(*text);
}

} // namespace sapwood::amqp
