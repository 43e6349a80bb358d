#include "json_decoder.hpp"

#include "json_slices.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <simdjson.h>

namespace sapwood::collector {

namespace {

/// Below it memory is kept for the next body.
constexpr std::size_t usual_bytes = 256u << 10;

level level_of_number(std::int64_t number, bool is_python) noexcept {
    // Python counts 10, 20, ... 50 from debug on; pino and bunyan 10, 20, ... 60 from trace on.
    const std::int64_t step = std::clamp<std::int64_t>(number / 10 - (is_python ? 0 : 1), 0, 5);
    return static_cast<level>(step);
}

/// What a record says of how important it is.
level level_of(const simdjson::dom::object& record) {
    level found = level::info;
    for (const auto [key, value] : record) {
        if (key.empty() || (key.front() != 'l' && key.front() != 's')) {
            continue;
        }
        const bool is_number = key == "levelno";
        if (!is_number && key != "level" && key != "levelname" && key != "severity" &&
            key != "lvl") {
            continue;
        }
        std::string_view name;
        std::int64_t number = 0;
        if (value.get(name) == simdjson::SUCCESS) {
            return level_named(name);
        }
        if (value.get(number) == simdjson::SUCCESS) {
            found = level_of_number(number, is_number);
        }
    }
    return found;
}

std::string_view text_of(simdjson::error_code error) noexcept {
    switch (error) {
    case simdjson::DEPTH_ERROR:
        return "objects or arrays are nested too deeply";
    case simdjson::UTF8_ERROR:
        return "it is not UTF-8";
    case simdjson::UNESCAPED_CHARS:
        return "a string has a control character in it";
    case simdjson::UNCLOSED_STRING:
        return "a string does not end";
    case simdjson::STRING_ERROR:
        return "a string has an escape that JSON does not know";
    case simdjson::NUMBER_ERROR:
        return "a number is none, or too large";
    default:
        return "it is not JSON";
    }
}

bool is_hex(char digit) noexcept {
    return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f') ||
           (digit >= 'A' && digit <= 'F');
}

unsigned hex_value(char digit) noexcept {
    return static_cast<unsigned>(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
}

/// `a+b%20c`. A per cent sign without two digits stands for itself.
std::string unquoted(std::string_view text) {
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

    /// Memory for a long record is given back.
    void trim() {
        if (parser_.capacity() > usual_bytes) {
            parser_ = simdjson::dom::parser();
            prepare();
        }
    }

  private:
    void prepare() {
        if (parser_.allocate(usual_bytes, depth_max_) != simdjson::SUCCESS) {
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
        capacity_ = std::max(needed, usual_bytes);
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
    } else if (level importance{}; body_.size() <= limits_.record_bytes_max &&
                                   parser_->parse(body_, importance) == simdjson::SUCCESS) {
        items_.push_back({importance, body_});
    } else {
        take_sequence(body_);
    }
    return finish();
}

const std::vector<json_item>& json_decoder::decode_form(std::string_view form) {
    built_.assign(1, '{');
    while (!form.empty()) {
        const auto end = std::min(form.find('&'), form.size());
        const std::string_view pair = form.substr(0, end);
        form.remove_prefix(std::min(end + 1, form.size()));
        if (pair.empty()) {
            continue;
        }
        const auto equals = std::min(pair.find('='), pair.size());
        if (built_.size() > 1) {
            built_ += ',';
        }
        const std::string value = unquoted(pair.substr(std::min(equals + 1, pair.size())));
        append_json_member(unquoted(pair.substr(0, equals)), value, built_);
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
        is_too_large_ = true;
        fail(fmt::format("it is longer than {} bytes", limits_.record_bytes_max));
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

void json_decoder::take_lines(std::string_view body) {
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

const std::vector<json_item>& json_decoder::finish() {
    if (!error_.empty()) {
        items_.clear();
    }
    if (capacity_ > usual_bytes && items_.empty()) {
        capacity_ = 0;
        memory_.reset();
    }
    parser_->trim();
    return items_;
}

level level_named(std::string_view name) noexcept {
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
