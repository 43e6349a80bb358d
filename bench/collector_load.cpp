#include "collector_load.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <deque>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

namespace bench {

namespace {

using clock = std::chrono::steady_clock;

constexpr std::size_t number_digits = 10;
constexpr std::string_view before_number = R"({"time":"2026-11-26T21:21:08.110Z","level":"info",)"
                                           R"("msg":"payment accepted","user":4711,"amount":1299,)"
                                           R"("ok":true,"n":1)";
constexpr std::size_t record_bytes = before_number.size() + number_digits + 1;

[[noreturn]] void fail(const char* what) {
    throw std::system_error{errno, std::generic_category(), what};
}

void put_number(std::uint64_t number, char* to) {
    for (std::size_t i = number_digits; i-- > 0; number /= 10) {
        to[i] = static_cast<char>('0' + number % 10);
    }
}

int connect_to(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        fail("cannot connect to the collector");
    }
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void set_nonblocking(int fd) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        fail("cannot make a socket non-blocking");
    }
}

std::string request_of(std::string_view target, std::size_t body_bytes, bool is_lines) {
    return fmt::format("POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/{}\r\n"
                       "Content-Length: {}\r\n\r\n",
                       target, is_lines ? "x-ndjson" : "json", body_bytes);
}

void append_record(std::uint64_t number, std::string& to) {
    to += before_number;
    char digits[number_digits];
    put_number(number, digits);
    to.append(digits, number_digits);
    to += '}';
}

/// How long the first answer in `text` is; 0 where it is not whole.
std::size_t answer_bytes(std::string_view text) {
    const auto head = text.find("\r\n\r\n");
    if (head == text.npos) {
        return 0;
    }
    constexpr std::string_view field = "Content-Length: ";
    const auto at = text.find(field);
    std::size_t body = 0;
    if (at < head) {
        std::from_chars(text.data() + at + field.size(), text.data() + head, body);
    }
    const std::size_t bytes = head + 4 + body;
    return bytes <= text.size() ? bytes : 0;
}

} // namespace

// --- records ---

void record_numbers::add(std::uint64_t number) {
    if (number >= is_there_.size()) {
        is_there_.resize(std::max<std::size_t>(number + 1, 2 * is_there_.size()));
    }
    count_ += is_there_[number] ? 0 : 1;
    is_there_[number] = true;
}

bool record_numbers::has(std::uint64_t number) const {
    return number < is_there_.size() && is_there_[number];
}

std::string record_of(std::uint64_t number) {
    std::string text;
    append_record(number, text);
    return text;
}

std::uint64_t number_in(std::string_view line) {
    std::uint64_t number = 0;
    if (line.size() < record_bytes ||
        line.substr(line.size() - record_bytes, before_number.size()) != before_number) {
        throw std::runtime_error(fmt::format("the log has a line of nobody's: {}", line));
    }
    const char* const end = line.data() + line.size() - 1;
    std::from_chars(end - number_digits, end, number);
    return number;
}

// --- requests ---

struct http_load::connection {
    struct request {
        std::uint64_t first_number;
        clock::time_point begin;
    };

    int fd = -1;
    std::string out;
    std::size_t written = 0;
    std::string in;
    std::deque<request> waiting;
};

http_load::http_load(std::uint16_t port, http_load_shape shape)
    : shape_{std::move(shape)},
      epoll_{epoll_create1(EPOLL_CLOEXEC)},
      connections_(shape_.connections) {
    for (connection& each : connections_) {
        each.fd = connect_to(port);
        set_nonblocking(each.fd);
        epoll_event wanted{};
        wanted.events = EPOLLIN;
        wanted.data.ptr = &each;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, each.fd, &wanted) != 0) {
            fail("cannot watch a connection");
        }
    }
}

http_load::~http_load() {
    for (const connection& each : connections_) {
        close(each.fd);
    }
    close(epoll_);
}

http_counts http_load::run(std::chrono::nanoseconds time, histogram& latencies) {
    counts_ = {};
    const auto begin = clock::now();
    const auto end = begin + time;
    if (shape_.rate == 0) {
        for (connection& each : connections_) {
            send_one(each);
            write(each);
        }
        while (clock::now() < end) {
            wait(100, latencies, true);
        }
    } else {
        std::size_t turn = 0;
        std::uint64_t due = 0;
        for (auto now = begin; now < end; now = clock::now()) {
            const auto wanted = static_cast<std::uint64_t>(
                std::chrono::duration<double>(now - begin).count() * shape_.rate);
            for (; due < wanted; ++due) {
                constexpr std::size_t backlog_bytes_max = 256 * 1024;
                connection& next = connections_[turn++ % connections_.size()];
                if (next.out.size() - next.written > backlog_bytes_max) {
                    ++counts_.skipped;
                } else {
                    send_one(next);
                }
            }
            for (connection& each : connections_) {
                write(each);
            }
            wait(1, latencies, false);
        }
    }
    while (under_way_ != 0) {
        for (connection& each : connections_) {
            write(each);
        }
        wait(100, latencies, false);
    }
    return counts_;
}

void http_load::send_one(connection& on) {
    const bool is_lines = shape_.records > 1;
    on.out +=
        request_of(shape_.target, shape_.records * (record_bytes + (is_lines ? 1 : 0)), is_lines);
    on.waiting.push_back({next_number_, clock::now()});
    for (std::size_t i = 0; i < shape_.records; ++i) {
        append_record(next_number_++, on.out);
        if (is_lines) {
            on.out += '\n';
        }
    }
    ++counts_.sent;
    ++under_way_;
}

void http_load::write(connection& to) {
    while (to.written < to.out.size()) {
        const ssize_t sent =
            send(to.fd, to.out.data() + to.written, to.out.size() - to.written, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) {
                return;
            }
            fail("cannot send to the collector");
        }
        to.written += static_cast<std::size_t>(sent);
    }
    to.out.clear();
    to.written = 0;
}

void http_load::read(connection& from, histogram& latencies, bool goes_on) {
    std::array<char, 64 * 1024> piece;
    const ssize_t got = recv(from.fd, piece.data(), piece.size(), 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        throw std::runtime_error("the collector has ended a connection");
    }
    from.in.append(piece.data(), static_cast<std::size_t>(got));
    std::string_view answers = from.in;
    const auto now = clock::now();
    while (const std::size_t bytes = answer_bytes(answers)) {
        const auto request = from.waiting.front();
        from.waiting.pop_front();
        --under_way_;
        if (answers.starts_with("HTTP/1.1 200 ")) {
            ++counts_.acknowledged;
            latencies.add(static_cast<std::uint64_t>((now - request.begin).count()));
            for (std::size_t i = 0; i < shape_.records; ++i) {
                acknowledged_.add(request.first_number + i);
            }
        } else if (answers.starts_with("HTTP/1.1 503 ")) {
            ++counts_.refused;
        } else {
            throw std::runtime_error(
                fmt::format("the collector says: {}", answers.substr(0, bytes)));
        }
        answers.remove_prefix(bytes);
        if (goes_on) {
            send_one(from);
        }
    }
    from.in.erase(0, from.in.size() - answers.size());
    write(from);
}

void http_load::wait(int timeout_ms, histogram& latencies, bool goes_on) {
    std::array<epoll_event, 256> events;
    const int count =
        epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < count; ++i) {
        read(*static_cast<connection*>(events[static_cast<std::size_t>(i)].data.ptr), latencies,
             goes_on);
    }
}

// --- other loads ---

std::vector<int> connect_silent(std::uint16_t port, std::size_t count) {
    std::vector<int> all;
    for (std::size_t i = 0; i < count; ++i) {
        all.push_back(connect_to(port));
    }
    return all;
}

std::uint64_t come_and_go(std::uint16_t port, std::chrono::nanoseconds time, double rate) {
    std::uint64_t count = 0;
    const std::string request = request_of("/log?ack=written", record_bytes, false) + record_of(0);
    const auto apart = rate > 0 ? std::chrono::nanoseconds(static_cast<std::int64_t>(1e9 / rate))
                                : std::chrono::nanoseconds::zero();
    auto next = clock::now();
    for (const auto end = next + time; clock::now() < end; ++count, next += apart) {
        if (rate > 0) {
            std::this_thread::sleep_until(next);
        }
        const int fd = connect_to(port);
        std::array<char, 1024> answer;
        if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0 ||
            recv(fd, answer.data(), answer.size(), 0) <= 0 ||
            std::memcmp(answer.data(), "HTTP/1.1 200 ", 13) != 0) {
            throw std::runtime_error("the collector does not answer who comes and goes");
        }
        const linger at_once{.l_onoff = 1, .l_linger = 0}; // or ports would run out
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(fd);
    }
    return count;
}

line_counts write_lines(const std::string& path, std::size_t writers,
                        std::chrono::nanoseconds time) {
    constexpr std::size_t lines_at_once = 256;
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path.copy(to.sun_path, sizeof to.sun_path - 1);
    std::vector<int> fds;
    for (std::size_t i = 0; i < writers; ++i) {
        fds.push_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (connect(fds.back(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
            fail("cannot connect to the collector");
        }
    }
    std::string block;
    for (std::size_t i = 0; i < lines_at_once; ++i) {
        block += record_of(0) + '\n';
    }
    line_counts counts;
    const auto begin = clock::now();
    for (std::size_t turn = 0; clock::now() < begin + time; ++turn) {
        for (std::size_t i = 0; i < lines_at_once; ++i) {
            put_number(counts.lines++,
                       block.data() + i * (record_bytes + 1) + before_number.size());
        }
        for (std::string_view left = block; !left.empty();) {
            const ssize_t sent = send(fds[turn % writers], left.data(), left.size(), MSG_NOSIGNAL);
            if (sent < 0) {
                fail("cannot send lines");
            }
            left.remove_prefix(static_cast<std::size_t>(sent));
        }
    }
    for (const int fd : fds) {
        char end = 0;
        shutdown(fd, SHUT_WR);
        (void)recv(fd, &end, 1, 0); // until it has read all, and closes
        close(fd);
    }
    counts.took = clock::now() - begin;
    return counts;
}

} // namespace bench
