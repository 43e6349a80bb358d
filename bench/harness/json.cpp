#include "harness/json.hpp"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <system_error>

#include <fmt/format.h>

namespace bench {

json_writer& json_writer::begin_object() {
    separate();
    text_ += '{';
    needs_comma_ = false;
    return *this;
}

json_writer& json_writer::end_object() {
    text_ += '}';
    needs_comma_ = true;
    return *this;
}

json_writer& json_writer::begin_array() {
    separate();
    text_ += '[';
    needs_comma_ = false;
    return *this;
}

json_writer& json_writer::end_array() {
    text_ += ']';
    needs_comma_ = true;
    return *this;
}

json_writer& json_writer::key(std::string_view name) {
    value(name);
    text_ += ": ";
    needs_comma_ = false;
    return *this;
}

json_writer& json_writer::value(std::string_view text) {
    separate();
    text_ += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            text_ += '\\';
            text_ += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            fmt::format_to(std::back_inserter(text_), "\\u{:04x}", static_cast<unsigned>(c));
        } else {
            text_ += c;
        }
    }
    text_ += '"';
    needs_comma_ = true;
    return *this;
}

json_writer& json_writer::value(double number) {
    separate();
    if (std::isfinite(number)) {
        fmt::format_to(std::back_inserter(text_), "{}", number);
    } else {
        text_ += "null";
    }
    needs_comma_ = true;
    return *this;
}

json_writer& json_writer::value(std::uint64_t number) {
    separate();
    fmt::format_to(std::back_inserter(text_), "{}", number);
    needs_comma_ = true;
    return *this;
}

json_writer& json_writer::value(const summary& samples) {
    return begin_object()
        .member("median", samples.median)
        .member("min", samples.min)
        .member("max", samples.max)
        .end_object();
}

void json_writer::write_file(const std::string& path) const {
    const auto fail = [&] {
        throw std::system_error{errno, std::generic_category(), "cannot write " + path};
    };
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) {
        fail();
    }
    const bool written = std::fwrite(text_.data(), 1, text_.size(), file) == text_.size() &&
                         std::fputc('\n', file) != EOF;
    if (std::fclose(file) != 0 || !written) {
        fail();
    }
}

void json_writer::separate() {
    if (needs_comma_) {
        text_ += ", ";
    }
}

} // namespace bench
