#include <sapwood/log_call.hpp>

#include "failure_text.hpp"

#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <cctype>
#include <exception>
#include <new>

namespace sapwood::detail {

namespace {

/// More than a record takes.
constexpr std::size_t value_bytes_limit = 1u << 20;

std::string_view trimmed(std::string_view text) noexcept {
    const std::size_t begin = text.find_first_not_of(" \t\n");
    if (begin == text.npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(" \t\n") + 1 - begin);
}

bool is_of_identifier(char c) noexcept {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

/// The name or number that ends in front of `end`.
std::string_view word_before(std::string_view text, std::size_t end) noexcept {
    std::size_t begin = end;
    while (begin > 0 && is_of_identifier(text[begin - 1])) {
        --begin;
    }
    return text.substr(begin, end - begin);
}

/// Where the literal ends that begins with the quote at `at`: its last character, or the text's.
std::size_t end_of_literal(std::string_view text, std::size_t at) noexcept {
    const std::string_view prefix = word_before(text, at);
    if (text[at] == '\'' && !prefix.empty() && prefix[0] >= '0' && prefix[0] <= '9') {
        return at; // inside of 1'000
    }
    if (text[at] == '"' && prefix.ends_with('R')) {
        const std::size_t open = std::min(text.find('(', at), text.size());
        const std::string close =
            ')' + std::string(text.substr(at + 1, open - std::min(open, at + 1))) + '"';
        const std::size_t found = text.find(close, open);
        return found == text.npos ? text.size() : found + close.size() - 1;
    }
    std::size_t end = at + 1;
    while (end < text.size() && text[end] != text[at]) {
        end += text[end] == '\\' ? 2 : 1;
    }
    return end;
}

/// Where the first comma stands that is in no brackets and no literal; the end where none does.
/// One between `<` and `>` counts, for those may be anything.
std::size_t find_comma(std::string_view text) {
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '"' || c == '\'') {
            i = end_of_literal(text, i);
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
std::string_view take_first(std::string_view& list) {
    const std::size_t comma = find_comma(list);
    const std::string_view first = trimmed(list.substr(0, comma));
    list.remove_prefix(std::min(comma + 1, list.size()));
    return first;
}

std::size_t count_of(std::string_view list) {
    std::size_t count = 0;
    for (list = trimmed(list); !list.empty(); ++count) {
        take_first(list);
    }
    return count;
}

/// Whether the expression has that name somewhere, as a whole one.
bool mentions(std::string_view expression, std::string_view name) noexcept {
    if (name.empty()) {
        return false;
    }
    for (std::size_t at = expression.find(name); at != expression.npos;
         at = expression.find(name, at + 1)) {
        const std::size_t end = at + name.size();
        if ((at == 0 || !is_of_identifier(expression[at - 1])) &&
            (end == expression.size() || !is_of_identifier(expression[end]))) {
            return true;
        }
    }
    return false;
}

} // namespace

call_values::call_values(const log_backend& backend, const log_call_options& how,
                         std::size_t count) noexcept
    : backend_(&backend),
      arguments_(how.arguments),
      value_bytes_max_(std::min(how.value_bytes_max, value_bytes_limit)),
      shows_result_(how.shows_result),
      importance_(how.importance),
      where_(how.where) {
    try {
        name_ = how.name;
        redact_ = how.redact;
        if (count > 0 &&
            (count_of(arguments_) != count || arguments_.find("...") != arguments_.npos)) {
            arguments_ = {}; // nobody knows which name is whose
            hides_arguments_ = redacts_by_name();
        }
    } catch (const std::bad_alloc&) { // the call is made all the same
        name_ = how.name.substr(0, 12);
        arguments_ = {};
        hides_arguments_ = true;
        shows_result_ = false;
    }
}

/// Whether what is never shown has another name than one that the log itself gives.
bool call_values::redacts_by_name() const {
    const auto is_made = [](std::string_view name) {
        return name == "result" || (name.size() > 3 && name.starts_with("arg") &&
                                    name.find_first_not_of("0123456789", 3) == name.npos);
    };
    for (std::string_view list = redact_; !list.empty();) {
        if (const std::string_view name = take_first(list); !name.empty() && !is_made(name)) {
            return true;
        }
    }
    return !std::ranges::all_of(backend_->redacted(), is_made);
}

std::string_view call_values::next_name() {
    const std::string_view name = take_first(arguments_);
    const unsigned index = index_++;
    if (!name.empty()) {
        return name;
    }
    made_name_ = "arg" + std::to_string(index);
    return made_name_;
}

bool call_values::is_redacted(std::string_view name) const {
    const auto names_it = [name](std::string_view each) { return mentions(name, each); };
    std::string_view list = redact_;
    while (!list.empty()) {
        if (names_it(take_first(list))) {
            return true;
        }
    }
    return std::ranges::any_of(backend_->redacted(), names_it);
}

void call_values::put_why_not(std::string_view name) noexcept {
    try {
        const failure_text text(std::current_exception());
        const action_failure why = text.failure();
        put_text_value(
            name, fmt::format("(not shown: {})", why.reason.empty() ? why.exception : why.reason));
    } catch (...) { // there is no memory for it
    }
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
    std::string text(value_bytes_max_ + 1, '\0'); // whether a character ends there
    const auto made = fmt::vformat_to_n(text.data(), text.size(), "{}", value);
    if (made.size <= value_bytes_max_) {
        text.resize(made.size);
    } else {
        text.resize(cut_at_character(text, value_bytes_max_).size());
        text += fmt::format("... ({} bytes)", made.size);
    }
    append_field(fields_, field_text(kv(name, text)));
}

void call_values::put_type_value(std::string_view name, const std::type_info& type) {
    put_text_value(name, '<' + demangled(type.name()) + '>');
}

action call_values::begin(const logger& log) const noexcept {
    try {
        if (log.enabled(importance_)) {
            return call_access::begin(log, importance_, action_name(name_, where_), fields_);
        }
    } catch (const std::bad_alloc&) { // the call is made all the same
    }
    return {};
}

void call_values::end(action& of) noexcept {
    try {
        call_access::add_success(of, fields_);
    } catch (const std::bad_alloc&) { // it has succeeded all the same
    }
    of.succeed();
}

} // namespace sapwood::detail
