// A text_layout's pattern, taken apart into runs of what changes together.
#include <sapwood/text_layout.hpp>

#include <fmt/format.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace sapwood {

namespace {

constexpr std::string_view time_flags = "YmdHMSyCaAbBhIpTXRDxcrezE"; // at most to the millisecond
constexpr std::string_view finer_flags = "fF";
constexpr std::string_view source_flags = "nlLtNP^$*%";
constexpr std::string_view message_flags = "v";
constexpr std::string_view context_flags = "sg#!@k";
constexpr std::string_view elapsed_flags = "Ooiu";
constexpr std::string_view other_flags = "q";
constexpr std::string_view spdlog_pattern = "[%Y-%m-%d %H:%M:%S.%e] [%n] [%^%l%$] %v";

bool is_one_of(char flag, std::string_view flags) noexcept {
    return flags.find(flag) != std::string_view::npos;
}

bool is_flag(char flag) noexcept {
    for (const auto flags : {time_flags, finer_flags, source_flags, message_flags, context_flags,
                             elapsed_flags, other_flags}) {
        if (is_one_of(flag, flags)) {
            return true;
        }
    }
    return false;
}

} // namespace

text_layout::run::kind text_layout::kind_of(const piece& one) noexcept {
    if (is_one_of(one.flag, time_flags)) {
        return run::kind::time;
    }
    if (is_one_of(one.flag, source_flags)) {
        return run::kind::source;
    }
    return one.flag == 'v' && one.pad == piece::padding::none ? run::kind::message
                                                              : run::kind::other;
}

void text_layout::parse(std::string_view pattern) {
    const auto refuse = [&](std::string_view what) {
        throw std::invalid_argument(
            fmt::format("text_layout: the pattern \"{}\" {}", pattern, what));
    };
    std::string literal;
    const auto end_literal = [&] {
        if (!literal.empty()) {
            add({.text = std::exchange(literal, {})});
        }
    };
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        if (pattern[i] == '\n') {
            refuse("holds a newline: a record is one line");
        }
        if (pattern[i] != '%') {
            literal += pattern[i];
            continue;
        }
        piece one;
        ++i;
        if (i < pattern.size() && (pattern[i] == '-' || pattern[i] == '=') &&
            i + 1 < pattern.size() && pattern[i + 1] >= '1' && pattern[i + 1] <= '9') {
            one.pad = pattern[i] == '-' ? piece::padding::left : piece::padding::centre;
            ++i;
        }
        unsigned width = 0;
        for (; i < pattern.size() && pattern[i] >= '0' && pattern[i] <= '9'; ++i) {
            width = 10 * width + static_cast<unsigned>(pattern[i] - '0');
            if (width > 128) {
                refuse("pads to more than 128 characters");
            }
        }
        if (width > 0 && one.pad == piece::padding::none) {
            one.pad = piece::padding::right;
        }
        one.width = static_cast<std::uint8_t>(width);
        if (width > 0 && i + 1 < pattern.size() && pattern[i] == '!' && is_flag(pattern[i + 1])) {
            one.is_cut = true;
            ++i;
        }
        if (i == pattern.size()) {
            refuse("ends with a percent sign: write %% for one");
        }
        one.flag = pattern[i];
        if (one.flag == '%') {
            literal += '%';
            continue;
        }
        if (one.flag == '+') {
            end_literal();
            parse(spdlog_pattern);
            continue;
        }
        if (!is_flag(one.flag)) {
            refuse(fmt::format("has a flag that is not known, %{}", one.flag));
        }
        end_literal();
        wants_task_ = wants_task_ || one.flag == 'k';
        wants_location_ =
            wants_location_ || (one.flag != 'k' && is_one_of(one.flag, context_flags));
        add(std::move(one));
    }
    end_literal();
}

void text_layout::add(piece one) {
    if (one.flag == 0) { // a literal goes with what is before it, unless that cannot keep it
        if (runs_.empty() || runs_.back().what == run::kind::message) {
            runs_.push_back({run::kind::source, {}});
            sources_.emplace_back();
        }
        runs_.back().pieces.push_back(std::move(one));
        return;
    }
    const auto what = kind_of(one);
    if (runs_.empty() || runs_.back().what != what || what == run::kind::message) {
        runs_.push_back({what, {}});
        if (what == run::kind::time) {
            times_.emplace_back();
        } else if (what == run::kind::source) {
            sources_.emplace_back();
        }
    }
    runs_.back().pieces.push_back(std::move(one));
}

} // namespace sapwood
