#include "line_session.hpp"

#include "syslog_message.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace sapwood::collector {

namespace {

/// A longer length is not believed.
constexpr std::size_t counted_bytes_max = 1u << 20;
constexpr std::size_t count_digits_max = 7;

} // namespace

record encode_syslog(named_log& log, const source& from, std::string_view message, bool is_cut) {
    const auto parsed = syslog_message::parse(message);
    std::array<note, 7> notes;
    std::size_t count = 0;
    const auto add = [&](std::string_view name, std::string_view value) {
        if (!value.empty()) {
            notes[count++] = {name, value};
        }
    };
    add("facility", facility_name(parsed.facility));
    add("host", parsed.host);
    add("app", parsed.app);
    add("process", parsed.process);
    add("kind", parsed.kind);
    add("data", parsed.data);
    add("cut", is_cut ? "true" : "");
    return log.encode_text(from, parsed.importance, parsed.text, std::span(notes).first(count));
}

line_session::line_session(intake& shared, named_log& to, line_kind kind,
                           std::unique_ptr<peer_stream> peer, source from)
    : intake_(shared),
      log_(to),
      kind_(kind),
      stream_(std::move(peer)),
      source_(std::move(from)),
      framing_(kind == line_kind::syslog ? framing::unknown : framing::newline) {}

task<> line_session::run() {
    bool was_told_to_end = false;
    try {
        for (;;) {
            is_waiting_ = true;
            const received piece = co_await stream_->receive();
            is_waiting_ = false;
            if (!piece) {
                break;
            }
            co_await take(piece.text(), false);
        }
    } catch (const cancelled&) {
        was_told_to_end = true;
    } catch (const std::system_error&) {
        // The peer is gone: what it has sent is kept all the same.
    }
    co_await take({}, true);
    co_await stream_->close();
    if (was_told_to_end) {
        throw cancelled{};
    }
}

task<> line_session::take(std::string_view input, bool is_last) {
    if (!pending_.empty()) {
        pending_ += input;
        input = pending_;
    }
    if (framing_ == framing::unknown && !input.empty()) {
        if (input.front() >= '0' && input.front() <= '9') {
            framing_ = framing::counted;
        } else {
            // Python's SysLogHandler ends messages so, and may have newlines in them.
            framing_ = input.back() == '\0' ? framing::nul : framing::newline;
        }
    }
    const std::size_t longest = intake_.limits.line_bytes_max;
    for (;;) {
        std::string_view line;
        if (framing_ == framing::counted) {
            if (!next_counted(input, line)) {
                if (framing_ == framing::counted) {
                    break;
                }
                continue;
            }
            co_await take_line(line.substr(0, longest), line.size() > longest);
            continue;
        }
        line = next_line(input);
        if (line.data() == nullptr) {
            break;
        }
        if (!std::exchange(is_skipping_, false) && !line.empty()) {
            co_await take_line(line.substr(0, longest), line.size() > longest);
        }
    }
    if (framing_ != framing::counted && input.size() > longest) {
        if (!std::exchange(is_skipping_, true)) {
            co_await take_line(input.substr(0, longest), true);
        }
        input = {};
    }
    if (is_last && !input.empty() && !is_skipping_) {
        co_await take_line(input.substr(0, longest), true);
        input = {};
    }
    pending_ = std::string(input);
}

/// Without its end; a null pointer where none has come.
std::string_view line_session::next_line(std::string_view& input) {
    const auto end = input.find(framing_ == framing::nul ? '\0' : '\n');
    if (end == input.npos) {
        return {};
    }
    std::string_view line = input.substr(0, end);
    input.remove_prefix(end + 1);
    if (line.ends_with('\r')) {
        line.remove_suffix(1);
    }
    return line;
}

/// False where more is to come. Where there is no length, the rest goes by newlines.
bool line_session::next_counted(std::string_view& input, std::string_view& message) {
    const auto space = input.find(' ');
    const std::string_view digits = input.substr(0, space);
    const bool is_number = !digits.empty() && digits.size() <= count_digits_max &&
                           std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
    if (input.empty()) {
        return false;
    }
    if (!is_number) {
        framing_ = framing::newline;
        return false;
    }
    if (space == input.npos) {
        return false;
    }
    std::size_t size = 0;
    for (const char c : digits) {
        size = size * 10 + static_cast<std::size_t>(c - '0');
    }
    if (size > counted_bytes_max) {
        framing_ = framing::newline;
        return false;
    }
    if (input.size() - space - 1 < size) {
        return false;
    }
    message = input.substr(space + 1, size);
    input.remove_prefix(space + 1 + size);
    return true;
}

task<> line_session::take_line(std::string_view line, bool is_cut) {
    record made = [&] {
        if (kind_ == line_kind::syslog) {
            return encode_syslog(log_, source_, line, is_cut);
        }
        if (!is_cut && line.front() == '{') {
            const auto& items = intake_.decoder.decode(line, json_framing::any);
            if (items.size() == 1) {
                return log_.encode_json(source_, items.front().importance, items.front().json);
            }
        }
        const note cut{"cut", "true"};
        return log_.encode_text(source_, level::info, line,
                                std::span(&cut, is_cut ? std::size_t{1} : 0));
    }();
    intake_.counts.record_bytes += made.message().size();
    ++intake_.counts.records;
    (void)co_await log_.log().append(std::move(made));
}

} // namespace sapwood::collector
