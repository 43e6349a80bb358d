#include "account.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace sapwood::simulation {

namespace {

/// FNV-1a.
std::uint32_t check_of(std::string_view text) noexcept {
    std::uint32_t sum = 2166136261u;
    for (const char byte : text) {
        sum = (sum ^ static_cast<unsigned char>(byte)) * 16777619u;
    }
    return sum;
}

std::optional<std::uint32_t> number_in(std::string_view text) noexcept {
    std::uint32_t value = 0;
    const auto got = std::from_chars(text.data(), text.data() + text.size(), value);
    if (got.ec != std::errc{} || got.ptr != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

/// For people: what cannot be shown as a dot, and not too long.
std::string shown(std::string_view line) {
    std::string text(line.substr(0, 60));
    std::replace_if(
        text.begin(), text.end(), [](char byte) { return byte < ' ' || byte > '~'; }, '.');
    return text;
}

} // namespace

void account::render(std::string& into, std::uint32_t producer, std::uint32_t number,
                     std::uint32_t filler) {
    char digits[16];
    into = 'p';
    into.append(digits, std::to_chars(digits, digits + 16, producer).ptr);
    into += ' ';
    into.append(digits, std::to_chars(digits, digits + 16, number).ptr);
    into += ' ';
    into.append(filler, static_cast<char>('a' + (producer + number) % 26));
    into += ' ';
    into.append(digits, std::to_chars(digits, digits + 16, check_of(into)).ptr);
}

std::string account::next_line(std::uint32_t producer, std::size_t filler_bytes) {
    if (producers_.size() <= producer) {
        producers_.resize(producer + 1);
    }
    producer_records& of = producers_[producer];
    of.states.push_back(state::in_flight);
    of.fillers.push_back(static_cast<std::uint32_t>(filler_bytes));
    std::string line;
    render(line, producer, static_cast<std::uint32_t>(of.states.size() - 1), of.fillers.back());
    return line;
}

std::uint32_t account::last_number(std::uint32_t producer) const {
    return static_cast<std::uint32_t>(producers_[producer].states.size() - 1);
}

void account::tell(std::uint32_t producer, std::uint32_t number, state what) {
    state& known = producers_[producer].states[number];
    known = known == state::forgiven ? known : what;
}

void account::forgive() {
    for (producer_records& of : producers_) {
        std::replace(of.states.begin(), of.states.end(), state::written, state::forgiven);
        std::replace(of.states.begin(), of.states.end(), state::durable, state::forgiven);
    }
}

void account::power_was_cut() {
    for (producer_records& of : producers_) {
        std::replace(of.states.begin(), of.states.end(), state::written, state::in_flight);
    }
}

void account::pages_were_dropped(std::string_view elsewhere) {
    const std::vector<producer_records> before = producers_;
    for (producer_records& of : producers_) {
        of.found.assign(of.states.size(), false);
    }
    std::optional<std::string> ignored;
    while (!elsewhere.empty()) {
        const auto end = std::min(elsewhere.find('\n'), elsewhere.size());
        (void)take(elsewhere.substr(0, end), ignored);
        elsewhere.remove_prefix(std::min(end + 1, elsewhere.size()));
    }
    power_was_cut();
    for (std::size_t producer = 0; producer < producers_.size(); ++producer) {
        producer_records& of = producers_[producer];
        for (std::size_t number = 0; number < of.states.size(); ++number) {
            if (of.found[number]) {
                of.states[number] = before[producer].states[number];
            }
        }
    }
}

std::size_t account::count(state what) const {
    std::size_t count = 0;
    for (const producer_records& of : producers_) {
        count += static_cast<std::size_t>(std::count(of.states.begin(), of.states.end(), what));
    }
    return count;
}

/// Whether the line is a whole record's. `wrong` where it is one that cannot be there.
bool account::take(std::string_view line, std::optional<std::string>& wrong) {
    const auto first = line.find(' ');
    const auto second = first == line.npos ? line.npos : line.find(' ', first + 1);
    if (second == line.npos || line.front() != 'p') {
        return false;
    }
    const auto producer = number_in(line.substr(1, first - 1));
    const auto number = number_in(line.substr(first + 1, second - first - 1));
    if (!producer || !number || *producer >= producers_.size() ||
        *number >= producers_[*producer].states.size()) {
        return false;
    }
    producer_records& of = producers_[*producer];
    render(scratch_, *producer, *number, of.fillers[*number]);
    if (scratch_ != line) {
        return false;
    }
    if (of.found[*number]) {
        return true; // again: the same record
    }
    of.found[*number] = true;
    if (*number + 1 < of.last_found && !wrong) {
        wrong = fmt::format("record {} of producer {} comes behind its record {}", *number,
                            *producer, of.last_found - 1);
    }
    of.last_found = std::max(of.last_found, *number + 1);
    return true;
}

std::optional<std::string> account::objection(std::string_view text, const rules& wanted) {
    std::optional<std::string> wrong;
    for (producer_records& of : producers_) {
        of.found.assign(of.states.size(), false);
        of.last_found = 0;
    }
    while (!text.empty()) {
        const auto end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        const bool is_whole = end != text.npos && take(line, wrong);
        if (!is_whole && !wanted.may_be_torn && !wrong) {
            wrong = fmt::format("there is a torn line, or one out of nowhere: \"{}\"", shown(line));
        }
        if (wanted.in_any_order) {
            wrong.reset();
        }
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
    for (std::size_t producer = 0; producer < producers_.size() && !wrong; ++producer) {
        const producer_records& of = producers_[producer];
        for (std::size_t number = 0; number < of.states.size() && !wrong; ++number) {
            const bool is_kept =
                of.states[number] == wanted.kept || of.states[number] == state::durable;
            if (is_kept && !of.found[number]) {
                wrong = fmt::format(
                    "record {} of producer {} is missing, and was acknowledged as {}", number,
                    producer, of.states[number] == state::durable ? "durable" : "written");
            }
        }
    }
    return wrong;
}

} // namespace sapwood::simulation
