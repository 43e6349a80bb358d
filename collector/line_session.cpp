#include "line_session.hpp"

#include "syslog_message.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <span>
#include <sys/socket.h>
#include <utility>

namespace sapwood::collector {

namespace {

/// Of a connection that is told to end: a TCP peer may go on sending.
constexpr std::size_t rest_bytes_max = 16u << 20;

/// For a person who has taken the port for another one.
constexpr std::string_view no_http =
    "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\n"
    "Content-Length: 60\r\n\r\n"
    R"({"status":"0","result":"this port takes lines, and no HTTP"})";
static_assert(no_http.size() - no_http.find('{') == 60);

/// `POST /log HTTP/1.1`. Where it is cut, or has others behind it, its end is not to be seen.
bool is_request_line(std::string_view text, bool is_cut) noexcept {
    const auto method = std::min(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), text.size());
    if (method < 3 || method == text.size() || text[method] != ' ') {
        return false;
    }
    const auto end = text.find_first_of("\r\n");
    const std::string_view line = text.substr(0, end);
    if (is_cut && end == text.npos) {
        return line.substr(method + 1).starts_with('/');
    }
    return line.ends_with(" HTTP/1.1") || line.ends_with(" HTTP/1.0");
}

/// The first message of TLS: a record of a handshake, of version 3.
bool is_client_hello(std::string_view bytes) noexcept {
    return bytes.starts_with("\x16\x03");
}

/// A peer that is silent may be gone without a word, with its machine: then the kernel finds out.
/// Not of Unix sockets, which have no such option.
void notice_dead_peer(int fd) noexcept {
    constexpr struct {
        int level;
        int name;
        int value;
    } all[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
               {IPPROTO_TCP, TCP_KEEPIDLE, 75},
               {IPPROTO_TCP, TCP_KEEPINTVL, 15},
               {IPPROTO_TCP, TCP_KEEPCNT, 4}};

    for (const auto& each : all) {
        ::setsockopt(fd, each.level, each.name, &each.value, sizeof(each.value));
    }
}

} // namespace

record_view encode_syslog(named_log& log, const source& from, std::string_view message,
                          bool is_cut) {
    const auto parsed = syslog_message::parse(message);
    std::array<note, 8> notes;
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
    add("sent", parsed.sent);
    add("cut", is_cut ? "true" : "");
    return log.encode_text(from, parsed.importance, parsed.text, std::span(notes).first(count));
}

line_session::line_session(intake& shared, named_log& to, line_kind kind,
                           std::unique_ptr<peer_stream> peer, source from, bool is_guarded)
    : connection(shared),
      log_(to),
      kind_(kind),
      stream_(std::move(peer)),
      source_(std::move(from)),
      is_first_(is_guarded),
      lines_(shared.limits.line_bytes_max, kind == line_kind::syslog) {
    notice_dead_peer(stream_->socket().fd());
}

task<> line_session::run() {
    co_await converse();
    if (!is_sent_away_ && lines_.finish()) {
        // What is shorter than a line may be has all that there is of it.
        if (is_other_language(lines_.line(),
                              lines_.line().size() >= intake_.limits.line_bytes_max)) {
            co_await send_away();
        } else {
            record last(encode_line());
            co_await give_waiting(last);
        }
    }
    hold(0);
    co_await stream_->close();
}

/// Until the peer ends; or, told to end, until all is taken that the kernel has of it.
task<> line_session::converse() {
    std::size_t rest = 0;
    while (rest < rest_bytes_max) {
        if (intake_.is_draining) {
            end_reading();
        }
        is_waiting_ = true;
        auto got = co_await as_result(stream_->receive());
        is_waiting_ = false;
        if (!got) {
            // Where the peer is gone, what it has sent is kept all the same.
            if (got.error() != std::errc::operation_canceled || is_expired()) {
                co_return;
            }
            is_ending_ = is_reading_ended_; // it was told so before
            end_reading();
            continue;
        }
        const received piece = std::move(*got);
        if (!piece) {
            co_return;
        }
        note_heard();
        rest += is_reading_ended_ ? piece.bytes().size() : 0;
        std::string_view input = piece.text();
        if (is_first_ && is_client_hello(input)) {
            co_await send_away();
            co_return;
        }
        bool is_new_line = !lines_.is_in_line();
        bool is_tried = take_objects(input);
        while (lines_.next(input)) {
            is_new_line = true;
            if (is_other_language(lines_.line(), lines_.is_cut())) [[unlikely]] {
                co_await send_away();
                co_return;
            }
            forget_deadline(); // the log may take longer than the line was allowed to
            const record_view line = encode_line();
            if (!log_.is_full() && intake_.give_now(log_, line)) [[likely]] {
                // The first one may have begun in the piece before.
                is_tried = is_tried || take_objects(input);
                continue;
            }
            record made(line);
            co_await give_waiting(made);
            is_tried = take_objects(input);
        }
        if (wait_for_more(is_new_line)) {
            if (is_other_language(lines_.line(), true)) {
                co_await send_away();
                co_return;
            }
            record cut(encode_line());
            co_await give_waiting(cut);
            set_deadline(intake_.limits.body);
            hold(0);
        }
    }
}

/// Whether this is the first that has come, and no line.
bool line_session::is_other_language(std::string_view first, bool is_cut) noexcept {
    return std::exchange(is_first_, false) && is_request_line(first, is_cut);
}

/// Nothing that has come is kept, nor is what comes.
task<> line_session::send_away() {
    is_sent_away_ = true;
    is_first_ = false;
    ++intake_.gate.no_lines;
    intake_.tell(fmt::format("{} was sent away: it speaks HTTP or TLS to a port that takes lines",
                             source_.name));
    set_deadline(intake_.limits.answer);
    (void)co_await as_result(stream_->write_all(no_http));
}

/// Gives `made` when there is room for it; where it is told to end before, now or never.
task<> line_session::give_waiting(record& made) {
    forget_deadline(); // the log may take longer than the line was allowed to
    while (!is_ending_ && log_.is_full()) {
        const auto room = co_await as_result(log_.room());
        is_ending_ = room.error() == std::errc::operation_canceled;
    }
    if (!is_ending_) {
        // The kernel keeps the rest for less than the channel would.
        try {
            co_await log_.log().room_now();
        } catch (const cancelled&) {
            is_ending_ = true;
        }
    }
    if (is_ending_) {
        give_or_leave(made);
        co_return;
    }
    if (intake_.give_now(log_, made.view()) ||
        intake_.give_now(log_, made) == intake::given::taken) {
        co_return;
    }
    const std::size_t bytes = made.message().size();
    const auto placed = co_await as_result(log_.log().append(std::move(made)));
    if (placed) {
        intake_.note_given(log_, *placed, bytes);
    } else {
        is_ending_ = true;
        give_or_leave(made); // which nobody has taken
    }
}

/// The peer can send no more, and the stream ends behind what it has sent.
void line_session::end_reading() noexcept {
    if (!std::exchange(is_reading_ended_, true)) {
        ::shutdown(stream_->socket().fd(), SHUT_RD);
    }
}

/// `is_new_line`: of what is not whole the first byte has just come. Whether that had to be cut,
/// for there is too much of it together: then it is a line.
bool line_session::wait_for_more(bool is_new_line) {
    if (lines_.is_skipping()) {
        // It was cut, and its end has as long as it would have had.
    } else if (!lines_.is_in_line()) {
        // A program may have nothing to say for days, and would lose the line that it sends to a
        // connection which was closed meanwhile.
        forget_deadline();
    } else if (is_new_line) {
        set_deadline(intake_.limits.body);
    }
    hold(lines_.held_bytes());
    return intake_.counts.held_line_bytes > intake_.limits.held_bytes_max && lines_.cut_short();
}

/// Lines that are objects cost less together. Takes from the front of `input` those that stand
/// there plainly, and for which there is room now; the rest goes one by one. Whether it looked.
bool line_session::take_objects(std::string_view& input) {
    if (!are_objects_ || is_ending_ || kind_ == line_kind::syslog || !lines_.is_at_line() ||
        !input.starts_with('{') || !log_.has_room_for_many()) {
        return false;
    }
    const std::string_view whole = input.substr(0, input.rfind('\n') + 1);
    if (whole.empty()) {
        return false;
    }
    const auto& items = intake_.usual.decoder.decode(whole, json_framing::lines);
    are_objects_ = !items.empty();
    const auto when = wall_clock::now();
    std::size_t used = 0;
    for (const json_item& each : items) {
        const auto at = static_cast<std::size_t>(each.json.data() - items.front().json.data());
        const std::string_view behind = whole.substr(at + each.json.size());
        const std::size_t end_bytes = behind.starts_with('\n')     ? 1
                                      : behind.starts_with("\r\n") ? 2
                                                                   : 0;
        if (at != used || end_bytes == 0 || each.json.size() > intake_.limits.line_bytes_max ||
            log_.is_full()) {
            break;
        }
        const record_view line = log_.encode_json(source_, each.importance, each.json, when);
        if (!intake_.give_now(log_, line)) {
            break;
        }
        used = at + each.json.size() + end_bytes;
    }
    is_first_ = is_first_ && used == 0;
    input.remove_prefix(used);
    return true;
}

record_view line_session::encode_line() {
    const std::string_view line = lines_.line();
    const bool is_cut = lines_.is_cut();
    if (kind_ == line_kind::syslog) {
        return encode_syslog(log_, source_, line, is_cut);
    }
    if (!is_cut && line.front() == '{') {
        const auto& items = intake_.usual.decoder.decode(line, json_framing::any);
        if (items.size() == 1) {
            return log_.encode_json(source_, items.front().importance, items.front().json);
        }
    }
    const note cut{"cut", "true"};
    return log_.encode_text(source_, level::info, line,
                            std::span(&cut, is_cut ? std::size_t{1} : 0));
}

void line_session::give_or_leave(record& made) {
    if (intake_.give_now(log_, made) != intake::given::taken) {
        ++intake_.counts.records_left;
    }
}

void line_session::hold(std::size_t bytes) noexcept {
    intake_.counts.held_line_bytes += bytes;
    intake_.counts.held_line_bytes -= std::exchange(held_, bytes);
}

} // namespace sapwood::collector
