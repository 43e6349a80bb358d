#include <sapwood/log_call.hpp>

#include "failure_text.hpp"

#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <cctype>

namespace sapwood::detail {

namespace {

std::string_view trimmed(std::string_view text) noexcept {
    const std::size_t begin = text.find_first_not_of(" \t\n");
    if (begin == text.npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(" \t\n") + 1 - begin);
}

/// Where the first comma stands that is in no brackets and no literal; the end where none does.
std::size_t find_comma(std::string_view text) noexcept {
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"' || c == '\'') {
            while (++i < text.size() && text[i] != c) {
                i += text[i] == '\\' ? 1 : 0;
            }
        } else if (c == '(' || c == '{' || c == '[') {
            ++depth;
        } else if (c == ')' || c == '}' || c == ']') {
            --depth;
        } else if (c == ',' && depth == 0) {
            return i;
        }
    }
    return text.size();
}

/// Takes the first of a list with commas out of it.
std::string_view take_first(std::string_view& list) noexcept {
    const std::size_t comma = find_comma(list);
    const std::string_view first = trimmed(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    return first;
}

/// Whether the expression is that name, or ends in a member of that name.
bool is_called(std::string_view expression, std::string_view name) noexcept {
    if (name.empty() || !expression.ends_with(name)) {
        return false;
    }
    if (expression.size() == name.size()) {
        return true;
    }
    const char before = expression[expression.size() - name.size() - 1];
    return std::isalnum(static_cast<unsigned char>(before)) == 0 && before != '_';
}

} // namespace

call_values::call_values(const log_backend& backend, const log_call_options& how)
    : backend_(&backend),
      name_(how.name),
      redact_(how.redact),
      arguments_(how.arguments),
      value_bytes_max_(how.value_bytes_max),
      shows_result_(how.shows_result),
      importance_(how.importance),
      where_(how.where) {}

std::string_view call_values::next_name() {
    const std::string_view name = take_first(arguments_);
    const unsigned index = index_++;
    if (!name.empty()) {
        return name;
    }
    made_name_ = "arg" + std::to_string(index);
    return made_name_;
}

bool call_values::is_redacted(std::string_view name) const noexcept {
    const auto names_it = [name](std::string_view each) { return is_called(name, each); };
    std::string_view list = redact_;
    while (!list.empty()) {
        if (names_it(take_first(list))) {
            return true;
        }
    }
    return std::ranges::any_of(backend_->redacted(), names_it);
}

void call_values::put_text_value(std::string_view name, std::string_view value) {
    if (value.size() <= value_bytes_max_) {
        append_field(fields_, field_text(kv(name, value)));
        return;
    }
    std::string cut(cut_at_character(value, value_bytes_max_));
    cut += fmt::format("... ({} bytes)", value.size());
    append_field(fields_, field_text(kv(name, cut)));
}

void call_values::put_formatted_value(std::string_view name, fmt::format_args value) {
    std::string text(value_bytes_max_, '\0');
    const auto made = fmt::vformat_to_n(text.data(), text.size(), "{}", value);
    if (made.size <= text.size()) {
        text.resize(made.size);
    } else {
        text.resize(
            cut_at_character(text, text.size() - std::min<std::size_t>(text.size(), 1)).size());
        text += fmt::format("... ({} bytes)", made.size);
    }
    append_field(fields_, field_text(kv(name, text)));
}

void call_values::put_type_value(std::string_view name, const std::type_info& type) {
    put_text_value(name, '<' + demangled(type.name()) + '>');
}

action call_values::begin(const logger& log) const {
    if (!log.enabled(importance_)) {
        return {};
    }
    return call_access::begin(log, importance_, action_name(name_, where_), fields_);
}

void call_values::end(action& of) {
    call_access::add_success(of, fields_);
    of.succeed();
}

} // namespace sapwood::detail
