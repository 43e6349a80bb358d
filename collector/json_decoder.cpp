#include "json_decoder.hpp"

#include "json_document.hpp"
#include "json_slices.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <simdjson.h>

namespace sapwood::collector {

namespace {

/// Below it memory is kept for the next body.
constexpr std::size_t usual_body_bytes = 256u << 10;
constexpr std::size_t usual_records = 4096;

bool is_hex(char digit) noexcept {
    return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f') ||
           (digit >= 'A' && digit <= 'F');
}

unsigned hex_value(char digit) noexcept {
    return static_cast<unsigned>(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
}

} // namespace

class json_decoder::parser {
  public:
    explicit parser(unsigned depth_max) : depth_max_(depth_max) { prepare(); }

    /// `text` must have simdjson's padding behind it.
    simdjson::error_code parse(std::string_view text, level& importance) {
        if (text.size() > parser_.capacity() &&
            parser_.allocate(text.size(), depth_max_) != simdjson::SUCCESS) {
            throw std::bad_alloc();
        }
        simdjson::dom::object record;
        simdjson::error_code error = parser_.parse(text.data(), text.size(), false).get(record);
        if (error == simdjson::SUCCESS) {
            importance = level_of(record);
        }
        return error;
    }

    /// Calls take(where it begins, level) for each of the objects that stand in `text` one after
    /// the other. False as soon as something is no object, or take returns false. `text` must be
    /// at most usual_body_bytes, with simdjson's padding behind it.
    template <class Take>
    bool parse_many(std::string_view text, Take&& take) {
        simdjson::dom::document_stream all;
        if (parser_.parse_many(text.data(), text.size(), text.size()).get(all) !=
            simdjson::SUCCESS) {
            return false;
        }
        for (auto each = all.begin(); each != all.end(); ++each) {
            simdjson::dom::object record;
            if ((*each).get(record) != simdjson::SUCCESS ||
                !take(text.data() + each.current_index(), level_of(record))) {
                return false;
            }
        }
        return true;
    }

    /// Memory for a long record is given back.
    void trim() {
        if (parser_.capacity() > usual_body_bytes) {
            parser_ = simdjson::dom::parser();
            prepare();
        }
    }

  private:
    void prepare() {
#ifdef SIMDJSON_THREADS_ENABLED
        parser_.threaded = false;
#endif
        if (parser_.allocate(usual_body_bytes, depth_max_) != simdjson::SUCCESS) {
            throw std::bad_alloc();
        }
    }

    unsigned depth_max_;
    simdjson::dom::parser parser_;
};

json_decoder::json_decoder(const json_limits& limits)
    : limits_(limits),
      parser_(std::make_unique<parser>(limits.depth_max)) {}

json_decoder::~json_decoder() = default;

/// Copies the body to where simdjson may read past its end.
void json_decoder::begin(std::string_view body) {
    items_.clear();
    error_.clear();
    is_too_large_ = false;
    const std::size_t needed = body.size() + simdjson::SIMDJSON_PADDING;
    if (needed > capacity_) {
        capacity_ = std::max(needed, usual_body_bytes);
        memory_ = std::make_unique<char[]>(capacity_);
    }
    std::copy(body.begin(), body.end(), memory_.get());
    std::fill_n(memory_.get() + body.size(), simdjson::SIMDJSON_PADDING, ' ');
    body_ = without_space({memory_.get(), body.size()});
}

const std::vector<json_item>& json_decoder::decode(std::string_view body, json_framing framing) {
    begin(body);
    if (body_.empty()) {
        fail("there is no record in the body");
    } else if (framing == json_framing::lines) {
        take_lines(body_);
    } else if (body_.front() == '[') {
        take_array(body_);
    } else {
        take_objects(body_);
    }
    return finish();
}

const std::vector<json_item>& json_decoder::decode_form(std::string_view form) {
    begin({});
    built_.assign(1, '{');
    while (!form.empty()) {
        const auto end = std::min(form.find('&'), form.size());
        const std::string_view pair = form.substr(0, end);
        form.remove_prefix(std::min(end + 1, form.size()));
        if (pair.empty()) {
            continue;
        }
        const auto equals = std::min(pair.find('='), pair.size());
        // A byte may become six.
        const std::string name = unquoted_form_text(pair.substr(0, equals));
        const std::string value =
            unquoted_form_text(pair.substr(std::min(equals + 1, pair.size())));
        if (built_.size() + name.size() + value.size() > limits_.record_bytes_max) {
            fail_too_long();
            return finish();
        }
        if (built_.size() > 1) {
            built_ += ',';
        }
        append_json_member(name, value, built_);
    }
    built_ += '}';
    begin(built_);
    if (built_.size() == 2) {
        error_ = "there is no record in the form";
    } else {
        (void)take(body_);
    }
    return finish();
}

/// False where it is no record, which fail() has been told.
bool json_decoder::take(std::string_view slice) {
    level importance{};
    if (items_.size() == limits_.records_max) {
        is_too_large_ = true;
        fail(fmt::format("there are more than {}; send them in several requests",
                         limits_.records_max));
        return false;
    }
    if (slice.size() > limits_.record_bytes_max) {
        fail_too_long();
        return false;
    }
    const simdjson::error_code error = parser_->parse(slice, importance);
    if (error != simdjson::SUCCESS) {
        fail(error == simdjson::INCORRECT_TYPE ? "it is not an object" : text_of(error));
        return false;
    }
    items_.push_back({importance, slice});
    return true;
}

/// Much cheaper than one by one, where there are several, all are records, and none of them is
/// long. Otherwise false, and nothing is taken: then one by one tells which one is wrong.
bool json_decoder::take_lines_at_once(std::string_view lines) {
    if (lines.find('\n') >= lines.size() - 1) {
        return false; // only one
    }
    const std::size_t before = items_.size();
    std::string_view left = lines;
    const auto next_line = [&left] {
        std::string_view line;
        while (line.empty() && !left.empty()) {
            const auto end = std::min(left.find('\n'), left.size());
            line = without_space(left.substr(0, end));
            left.remove_prefix(std::min(end + 1, left.size()));
        }
        return line;
    };
    // Where each object begins where a line does, and there are as many, each line is one: what
    // stands behind an object in its line would be looked at as the next one.
    const bool are_records = parser_->parse_many(lines, [&](const char* begin, level importance) {
        const std::string_view line = next_line();
        if (line.data() != begin || items_.size() == limits_.records_max ||
            line.size() > limits_.record_bytes_max) {
            return false;
        }
        items_.push_back({importance, line});
        return true;
    });
    // At the end something that is not whole is left out without a word. It can only stand behind
    // the last object, in its line, which therefore is looked at again by itself.
    if (level importance{}; !are_records || !next_line().empty() || items_.size() == before ||
                            parser_->parse(items_.back().json, importance) != simdjson::SUCCESS) {
        items_.resize(before);
        return false;
    }
    return true;
}

/// Takes from the front of `body` what can be taken at once. The rest is the result.
std::string_view json_decoder::take_lines_together(std::string_view body) {
    // So much of the body that the parser's memory stays near.
    constexpr std::size_t bytes_at_once = 32u << 10;
    for (bool are_records = true; are_records && !body.empty();) {
        const auto end =
            body.size() <= bytes_at_once ? body.size() : body.rfind('\n', bytes_at_once - 1) + 1;
        are_records = end != 0 && take_lines_at_once(body.substr(0, end));
        body.remove_prefix(are_records ? end : 0);
    }
    return body;
}

/// One, or several one after the other, most often a line each.
void json_decoder::take_objects(std::string_view body) {
    const auto end = body.find('\n');
    if (end != body.npos && without_space(body.substr(0, end)).ends_with('}')) {
        body = without_space(take_lines_together(body));
    }
    if (level importance{}; items_.empty() && body.size() <= limits_.record_bytes_max &&
                            parser_->parse(body, importance) == simdjson::SUCCESS) {
        items_.push_back({importance, body});
        return;
    }
    take_sequence(body);
}

void json_decoder::take_lines(std::string_view body) {
    body = take_lines_together(body);
    while (!body.empty()) {
        const auto end = std::min(body.find('\n'), body.size());
        const std::string_view line = without_space(body.substr(0, end));
        body.remove_prefix(std::min(end + 1, body.size()));
        if (!line.empty() && !take(line)) {
            return;
        }
    }
}

void json_decoder::take_array(std::string_view body) {
    body = without_space(body.substr(1));
    if (body == "]") {
        return;
    }
    for (;;) {
        const std::string_view slice = first_json_value(body);
        if (!take(slice)) {
            return;
        }
        body = without_space(body.substr(slice.size()));
        if (body == "]") {
            return;
        }
        if (body.empty() || body.front() != ',') {
            fail("behind it the array neither goes on nor ends");
            return;
        }
        body = without_space(body.substr(1));
    }
}

void json_decoder::take_sequence(std::string_view body) {
    while (!body.empty()) {
        const std::string_view slice = first_json_value(body);
        if (!take(slice)) {
            return;
        }
        body = without_space(body.substr(slice.size()));
    }
}

/// In the record behind those that were taken.
void json_decoder::fail(std::string_view what) {
    error_ =
        body_.empty() ? std::string(what) : fmt::format("record {}: {}", items_.size() + 1, what);
}

void json_decoder::fail_too_long() {
    is_too_large_ = true;
    error_ = fmt::format("record {}: it is longer than {} bytes", items_.size() + 1,
                         limits_.record_bytes_max);
}

void json_decoder::forget() noexcept {
    items_.clear();
    if (items_.capacity() > usual_records) {
        std::vector<json_item>().swap(items_);
    }
    if (capacity_ > usual_body_bytes) {
        capacity_ = 0;
        memory_.reset();
    }
}

std::size_t json_decoder::kept_bytes() const noexcept {
    return capacity_ + built_.capacity() + items_.capacity() * sizeof(json_item);
}

const std::vector<json_item>& json_decoder::finish() {
    if (!error_.empty()) {
        items_.clear();
    }
    if (capacity_ > usual_body_bytes && items_.empty()) {
        capacity_ = 0;
        memory_.reset();
    }
    if (built_.capacity() > usual_body_bytes) {
        std::string().swap(built_); // the records are in the copy
    }
    parser_->trim();
    return items_;
}

std::string unquoted_form_text(std::string_view text) {
    std::string plain;
    plain.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '+') {
            plain += ' ';
        } else if (text[i] == '%' && i + 2 < text.size() && is_hex(text[i + 1]) &&
                   is_hex(text[i + 2])) {
            plain += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
            i += 2;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

level level_named(std::string_view name) noexcept {
    if (name == "info") { // most are
        return level::info;
    }
    if (const auto known = parse_level(name)) {
        return *known == level::off ? level::info : *known;
    }
    const auto is = [name](std::string_view other) {
        return std::ranges::equal(name, other, [](char one, char two) {
            return (one >= 'A' && one <= 'Z' ? one + ('a' - 'A') : one) == two;
        });
    };
    if (is("emerg") || is("emergency") || is("alert") || is("crit") || is("panic")) {
        return level::critical;
    }
    return level::info;
}

} // namespace sapwood::collector
