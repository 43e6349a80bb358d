#include "log_tail.hpp"

#include "preallocation.hpp"

#include <sapwood/file_sink.hpp>
#include <sapwood/numbered_line.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <string_view>
#include <system_error>
#include <tuple>

namespace sapwood::detail {

namespace {

constexpr std::uint64_t first_look_bytes = 256u << 10;

/// Enough where the first line, which is perhaps seen in part, and the longest are not too long.
constexpr std::uint64_t tail_look_bytes = tail_bytes_max + first_look_bytes;

/// What was preallocated, and the rest of a batch that was never written.
constexpr std::uint64_t zeros_bytes_max =
    file_sink_options::preallocated_bytes_max + tail_bytes_max;

/// So far up an end of a line is looked for, and all of that is in memory; and a number in what may
/// never have had one.
constexpr std::uint64_t search_bytes_max = 512u << 20;

/// What is between `begin` and `end`; less where somebody cuts the file meanwhile.
task<std::vector<char>> read_range(file& log, std::uint64_t begin, std::uint64_t end) {
    std::vector<char> bytes(end - begin);
    std::size_t filled = 0;
    while (filled < bytes.size()) {
        const std::size_t got =
            co_await log.read_some(std::span(bytes).subspan(filled), {begin + filled});
        if (got == 0) {
            bytes.resize(filled);
            break;
        }
        filled += got;
    }
    co_return bytes;
}

/// How many there are but for the longest line, which no limit of batches has reckoned with.
std::size_t bytes_but_longest(std::string_view text) noexcept {
    std::size_t longest = 0;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        longest = std::max(longest, end - at);
        at = end + 1;
    }
    return text.size() - longest;
}

/// Where the last line begins that is whole and has a mark; npos where none is.
std::size_t last_mark(std::string_view text) noexcept {
    std::size_t end = text.rfind('\n');
    while (end != text.npos) {
        const std::size_t before = end == 0 ? text.npos : text.rfind('\n', end - 1);
        const std::size_t begin = before + 1; // npos + 1 is 0
        const std::string_view line = text.substr(begin, end - begin);
        if (line.size() > numbered_line::mark_at &&
            line[numbered_line::mark_at] == numbered_line::mark) {
            if (numbered_line::parse(line).is == numbered_line::state::whole) {
                return begin;
            }
        }
        end = before;
    }
    return text.npos;
}

/// Looks at the lines of `text`: how much of it is good, and the last number in it.
///
/// A line without a head is nobody's damage where numbered lines come behind it, or before the
/// first of them: somebody has put it there, or the log was not always numbered. Neither is a line
/// that is broken where the numbers go on behind it as if it were not there: a line of ours that
/// was lost would be missing among them. `last` is the last number above it, where that is known.
std::pair<std::size_t, lsn> check(std::string_view text, lsn last) {
    std::size_t good = 0;
    bool is_numbered = false;
    bool is_in_doubt = false; // since a line that is broken
    for (std::size_t at = 0;;) {
        const auto newline = text.find('\n', at);
        if (newline == text.npos) {
            return {good, last};
        }
        const std::string_view line = text.substr(at, newline - at);
        const auto parsed = numbered_line::parse(line);
        at = newline + 1;
        if (parsed.is == numbered_line::state::broken) {
            is_in_doubt = true;
        } else if (parsed.is == numbered_line::state::whole) {
            is_in_doubt = is_in_doubt && parsed.place != last + 1 &&
                          !tells_of_missing(line, {last + 1, parsed.place});
            if (is_in_doubt) {
                continue;
            }
            is_numbered = true;
            last = std::max(last, parsed.place);
            good = at;
        } else if (!is_numbered && !is_in_doubt) {
            good = at;
        }
    }
}

/// The last number in `text`, whose first line may have begun before it.
lsn last_number(std::string_view text) noexcept {
    for (std::size_t end = text.rfind('\n'); end != text.npos && end != 0;) {
        const std::size_t before = text.rfind('\n', end - 1);
        if (before == text.npos) {
            break;
        }
        const auto line = numbered_line::parse(text.substr(before + 1, end - before - 1));
        if (line.is == numbered_line::state::whole && line.place != lsn::none) {
            return line.place;
        }
        end = before;
    }
    return lsn::none;
}

/// Whether a numbered log has begun this file: others' lines stand behind its own.
task<bool> begins_with_number(file& log, std::uint64_t size) {
    const std::vector<char> bytes = co_await read_range(log, 0, std::min(size, first_look_bytes));
    const std::string_view text(bytes.data(), bytes.size());
    bool is_numbered = false;
    for (std::size_t at = 0; at < text.size() && !is_numbered;) {
        const auto newline = std::min(text.find('\n', at), text.size());
        is_numbered =
            numbered_line::parse(text.substr(at, newline - at)).is == numbered_line::state::whole;
        at = newline + 1;
    }
    co_return is_numbered;
}

/// The last number above `end`; none where there is none. In a file that begins with numbered lines
/// it is looked for up to the first byte: to take for none what was not looked for would give
/// numbers a second time. Some 2 s for each 1 GiB of others' lines, once: what is written behind
/// them is found at the next open. Another file, a log of plain lines that gets numbers or one that
/// somebody has moved there, is looked at for as long as an open may take.
task<lsn> number_above(file& log, std::uint64_t end) {
    const bool is_ours = co_await begins_with_number(log, end);
    const std::uint64_t least = is_ours ? 0 : end - std::min(end, search_bytes_max);
    while (end > least) {
        const std::uint64_t begin = end - std::min(end - least, tail_bytes_max);
        std::vector<char> bytes(1, '\n');
        const std::vector<char> found = co_await read_range(log, begin, end);
        bytes.insert(bytes.end(), found.begin(), found.end());
        const std::string_view text(bytes.data(), bytes.size());
        if (const lsn last = last_number(begin == 0 ? text : text.substr(1)); last != lsn::none) {
            co_return last;
        }
        const auto newline = text.find('\n', 1); // the line that begins above is seen whole next
        end = begin + (newline == text.npos || begin == 0 ? 0 : newline);
        if (end - begin > tail_bytes_max / 2) {
            end = begin; // it is longer than a line of the log would be
        }
    }
    co_return lsn::none;
}

/// The texts of whole lines from `first` on, by number.
std::map<lsn, std::string_view> texts_by_number(std::string_view lines, lsn first) {
    std::map<lsn, std::string_view> found;
    for (auto end = lines.find('\n'); end != lines.npos; end = lines.find('\n')) {
        const std::string_view line = lines.substr(0, end);
        const auto parsed = numbered_line::parse(line);
        if (parsed.is == numbered_line::state::whole && parsed.place >= first) {
            found.emplace(parsed.place, line.substr(numbered_line::head_bytes));
        }
        lines.remove_prefix(end + 1);
    }
    return found;
}

} // namespace

task<std::uint64_t> end_before_zeros(file& log, std::uint64_t size) {
    if (size % preallocation::block_bytes != 0) {
        co_return size;
    }
    const std::uint64_t least = size - std::min<std::uint64_t>(size, zeros_bytes_max);
    for (std::uint64_t end = size; end > least;) {
        const std::uint64_t begin = end - std::min(end - least, first_look_bytes);
        const std::vector<char> bytes = co_await read_range(log, begin, end);
        const auto last =
            std::find_if(bytes.rbegin(), bytes.rend(), [](char byte) { return byte != '\0'; });
        if (last != bytes.rend()) {
            co_return begin + static_cast<std::uint64_t>(bytes.rend() - last);
        }
        end = begin;
    }
    co_return least == 0 ? 0 : size;
}

task<lsn> first_number(file& log, std::uint64_t size, lsn last) {
    const std::uint64_t look = std::min(size, tail_look_bytes);
    const std::vector<char> bytes = co_await read_range(log, 0, look);
    const std::string_view text(bytes.data(), bytes.size());
    const auto end = text.find('\n');
    if (end == text.npos) {
        co_return lsn::none;
    }
    const auto line = numbered_line::parse(text.substr(0, end));
    if (line.is != numbered_line::state::whole) {
        co_return lsn::none;
    }
    const bool tells = tells_of_missing(text.substr(0, end), {last + 1, line.place});
    co_return tells ? last + 1 : line.place;
}

bool tells_of_missing(std::string_view line, lsn_range which) {
    const std::uint64_t first = to_number(which.first);
    const std::uint64_t last = to_number(which.last);
    const auto says = [line](const std::string& what) { return line.find(what) != line.npos; };
    return line.ends_with(" \\(log)") &&
           (says(fmt::format(" records are missing here, numbers {} to {}: ", first, last)) ||
            (first == last && says(fmt::format(" 1 record is missing here, number {}: ", last))));
}

bool has_more(const log_tail& made, const log_tail& log, lsn first) {
    if (made.last <= log.last) {
        return false;
    }
    bool goes_on = first > log.last;
    const auto texts = texts_by_number(log.text(), first);
    for (const auto& [number, text] : texts_by_number(made.text(), first)) {
        const auto same = texts.find(number);
        if (same != texts.end() && same->second != text) {
            return false;
        }
        // Where the log's last line stands above what was read of it, its text is not known.
        goes_on = goes_on || number == log.last;
    }
    return goes_on;
}

task<log_tail> read_log_tail(file& log, std::uint64_t size) {
    for (std::uint64_t look = first_look_bytes;;) {
        const std::uint64_t begin = size - std::min(size, look);
        log_tail tail(co_await read_range(log, begin, size), begin);
        const std::string_view text = tail.text();
        std::size_t from = last_mark(text);
        bool is_enough = from != text.npos || begin == 0;
        if (from == text.npos) {
            from = begin == 0 ? 0 : text.find('\n') + 1; // npos + 1 is 0
            is_enough = is_enough || bytes_but_longest(text.substr(from)) >= tail_bytes_max;
        }
        if (is_enough) {
            auto [good, last] = check(text.substr(from), lsn::none);
            if (last == lsn::none && begin + from > 0) { // all of it is others'
                const lsn above = co_await number_above(log, begin + from);
                std::tie(good, last) = check(text.substr(from), above);
            }
            // Where somebody had cut the log, lines above the mark have numbers that came again.
            last = std::max(last, last_number(text.substr(0, from)));
            tail.skipped = from;
            tail.begin = begin + from;
            tail.end = tail.begin + good;
            tail.last = last;
            co_return tail;
        }
        if (look >= search_bytes_max) {
            throw std::system_error(
                std::make_error_code(std::errc::file_too_large),
                fmt::format("its last {} MiB have no end of a line: move the file aside, or cut "
                            "them off",
                            look >> 20));
        }
        look = look < tail_look_bytes ? std::min(4 * look, tail_look_bytes) : 4 * look;
    }
}

} // namespace sapwood::detail
