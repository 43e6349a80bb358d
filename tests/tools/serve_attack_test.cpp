// sapwood serve under attack: each kind of bad input, by many connections at once. Somebody who
// behaves is served meanwhile, no memory is taken that grows with it, and nothing is in the log but
// what was acknowledged, a line for each. SAPWOOD_TEST_ATTACK_SECONDS=2 has each kind go on for so
// long, twice, and prints what it costs those who behave.
#include "support/compressed.hpp"
#include "support/program.hpp"
#include "tools/serve_daemon.hpp"

#include <sapwood/run.hpp>
#include <sapwood/sanitizers.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fstream>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using sapwood::endpoint;
using sapwood::task;
using sapwood::tcp_stream;
using sapwood::unix_stream;
using namespace sapwood::test;

constexpr int attackers_of_a_kind = 8;
constexpr std::uint64_t kib_more_max = 32u << 10;
/// How many of a kind are under way at once is a matter of luck, and they may hold 4 MB.
constexpr std::uint64_t kib_more_in_half_max = 8u << 10;
/// One bad request once took more than a second, of which everybody else had to wait for the end.
/// What it takes of a processor is the same on a slow machine; how long others wait is not.
constexpr auto cpu_max = SAPWOOD_ADDRESS_SANITIZER ? 1000ms : 250ms;
constexpr auto median_max = 5s;

struct attack {
    const char* what;
    std::string bytes;
    /// What the first answer may be; 0 is none.
    std::set<int> statuses;
    /// The connection is closed, and what stands behind is no request.
    bool is_last = false;
    /// The client says that it has sent all.
    bool says_end = false;
    /// It reads nothing until the server has had enough of it.
    bool reads_late = false;
    /// By a Unix socket for lines: nothing is answered, and a line says that it was cut.
    bool is_of_lines = false;
};

/// Behind something that leaves in doubt where the next request begins.
const std::string smuggled =
    "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n{\"smuggled\":true}";

std::string post(std::string_view body, std::string_view target = "/log",
                 std::string_view fields = "") {
    return fmt::format(
        "POST {}?ack=written HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n{}", target,
        body.size(), fields, body);
}

std::string head(std::string_view fields) {
    return fmt::format("POST /log HTTP/1.1\r\nHost: localhost\r\n{}\r\n", fields);
}

std::string repeated(std::string_view what, std::size_t count) {
    std::string all;
    all.reserve(what.size() * count);
    for (std::size_t i = 0; i < count; ++i) {
        all += what;
    }
    return all;
}

std::vector<attack> mistakes_of_bodies() {
    const std::string form = "Content-Type: application/x-www-form-urlencoded\r\n";
    return {
        {"JSON that is none", post(R"({"a":})"), {400}},
        {"100,000 nested brackets", post(std::string(100'000, '[')), {400}},
        {"100,000 nested objects", post(repeated("{\"a\":", 100'000)), {400}},
        {"very many records", post("[" + repeated("{},", 200'000) + "{}]"), {413}},
        {"a body that is cut", head("Content-Length: 100\r\n") + "{\"a\":1}", {0, 400}, true, true},
        {"a chunk that is cut",
         head("Transfer-Encoding: chunked\r\n") + "64\r\n{}",
         {0, 400},
         true,
         true},
        {"a NUL in JSON", post("{\"a\":\"\0\"}"s), {400}},
        {"a newline in JSON", post("{\"a\":\"\nforged\"}"), {400}},
        {"escaped NULs and newlines", post(R"({"a\u0000\n":"\u0000\n\nforged"})"), {200}},
        {"NULs and newlines in a form", post("a%00%0Ab=%0Aforged%00", "/log", form), {200}},
        {"newlines between records", post("{\"a\":1}\n\0\nforged"s), {400}},
        {"names that are paths", post("{}", "/log/../x"), {400, 404}},
        {"names that are encoded paths", post("{}", "/log/%2e%2e%2fx"), {400, 404}},
        {"names with a NUL", post("{}", "/log/app%00.log"), {400, 404}},
    };
}

std::vector<attack> mistakes_of_framing() {
    std::vector<attack> all;
    for (const std::string& fields :
         {"Content-Length: 2\r\nContent-Length: 40\r\n"s,
          "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"s, "Content-Length: +2\r\n"s,
          "Content-Length: 2\n"s, "A: \0\r\nContent-Length: 2\r\n"s, "A : b\r\n"s,
          "A: b\r\n folded\r\nContent-Length: 2\r\n"s}) {
        all.push_back({"framing in doubt", head(fields) + "{}" + smuggled, {400}, true});
    }
    all.push_back({"an unknown transfer encoding",
                   head("Transfer-Encoding: gzip\r\n") + "{}" + smuggled,
                   {400, 501},
                   true});
    all.push_back({"bare newlines",
                   "POST /log HTTP/1.1\nHost: localhost\nContent-Length: 2\n\n{}" + smuggled,
                   {400},
                   true});
    all.push_back(
        {"a huge head", head("A: " + std::string(1u << 20, 'x') + "\r\n") + smuggled, {431}, true});
    all.push_back({"very many fields", head(repeated("A: b\r\n", 3000)) + smuggled, {431}, true});
    all.push_back({"a flood of chunk extensions",
                   head("Transfer-Encoding: chunked\r\n") +
                       repeated("1;a=" + std::string(400, 'x') + "\r\n \r\n", 2000) + smuggled,
                   {400, 413},
                   true});
    all.push_back({"a body of ten gigabytes",
                   head("Content-Length: 10000000000\r\n") + std::string(100'000, ' ') + smuggled,
                   {413},
                   true});
    all.push_back({"chunks without an end",
                   head("Transfer-Encoding: chunked\r\n") +
                       repeated("8000\r\n" + std::string(0x8000, ' ') + "\r\n", 64) + smuggled,
                   {413},
                   true});
    all.push_back({"no HTTP at all", std::string(70'000, '\0') + smuggled, {400, 431}, true});
    return all;
}

std::vector<attack> bombs() {
    const std::string blanks = std::string(12'000'000, ' ') + "{}";
    std::vector<attack> all;
    if (const auto body = gzipped(blanks)) {
        all.push_back({"a bomb of gzip", post(*body, "/log", "Content-Encoding: gzip\r\n"), {413}});
        all.push_back({"gzip that is cut",
                       post(body->substr(0, 1000), "/log", "Content-Encoding: gzip\r\n"),
                       {400}});
    }
    if (const auto body = zstd_of(blanks)) {
        all.push_back({"a bomb of zstd", post(*body, "/log", "Content-Encoding: zstd\r\n"), {413}});
    }
    return all;
}

/// Those that wait for what does not come.
std::vector<attack> slow_ones() {
    return {
        {"a head that does not go on", "POST /lo", {408}, true},
        {"a body that does not go on", head("Content-Length: 1000\r\n") + "{", {408}, true},
        {"a chunk that does not go on",
         head("Transfer-Encoding: chunked\r\n") + "ff\r\n{",
         {408},
         true},
        {"who only connects", "", {0}, true},
        {"who asks and does not read",
         repeated("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 1500),
         {0, 200},
         true,
         false,
         true},
        {"a line that does not end", std::string(1'000'000, 'x'), {0}, true, false, false, true},
        {"an object that does not end",
         repeated("{\"a\":", 100'000),
         {0},
         true,
         false,
         false,
         true},
        {"a line that does not go on", "\x1b[2J\0: forged"s, {0}, true, false, false, true},
    };
}

/// Of /proc/PID/status, in KiB.
std::uint64_t kib_of(pid_t process, const std::string& what) {
    const std::string status = contents_of(fmt::format("/proc/{}/status", process));
    const auto at = status.find("\n" + what + ":");
    REQUIRE(at != status.npos);
    return std::stoull(status.substr(at + what.size() + 2, 20));
}

/// What a process has had of the processors so far.
std::chrono::nanoseconds cpu_of(pid_t process) {
    clockid_t clock{};
    timespec at{};
    REQUIRE(::clock_getcpuclockid(process, &clock) == 0);
    REQUIRE(::clock_gettime(clock, &at) == 0);
    return std::chrono::seconds(at.tv_sec) + std::chrono::nanoseconds(at.tv_nsec);
}

/// VmHWM begins anew, at what there is now.
void forget_peak(pid_t process) {
    std::ofstream(fmt::format("/proc/{}/clear_refs", process)) << "5";
}

int status_in(const std::string& answer) {
    return answer.starts_with("HTTP/1.1 ") ? std::stoi(answer.substr(9, 3)) : 0;
}

/// Its body's length is told.
bool is_whole(const std::string& answer) {
    const auto end = answer.find("\r\n\r\n");
    const auto length = answer.find("Content-Length: ");
    return end != answer.npos && length < end &&
           answer.size() - end - 4 >= std::stoul(answer.substr(length + 16, 10));
}

template <class Stream>
task<> send_all(Stream& to, const attack& what) {
    try {
        co_await to.write_all(std::string_view(what.bytes));
        if (what.says_end) {
            co_await to.shutdown_write();
        }
    } catch (const std::system_error&) {
        // It reads no more.
    }
}

/// What a connection is told, until its end or as much as it waits for.
template <class Stream>
task<std::string> answer_to(Stream& client, const attack& how) {
    std::string answer;
    std::string piece(16'384, ' ');
    auto sending = sapwood::spawn(send_all(client, how));
    try {
        if (how.reads_late) {
            co_await sapwood::sleep_for(700ms);
        }
        while (how.is_last || !is_whole(answer)) {
            const auto got = co_await client.read_some(piece);
            if (got == 0) {
                break;
            }
            answer.append(piece, 0, got);
        }
    } catch (const std::system_error&) {
        // Reset, behind its answer.
    }
    sending.cancel();
    try {
        co_await sending;
    } catch (const sapwood::cancelled&) {
        // There was no need for the rest.
    }
    co_return answer;
}

/// Where attacks go, and how many requests were acknowledged.
struct target {
    endpoint http;
    endpoint lines;
    std::size_t acknowledged = 0;
};

template <class Stream>
task<> attack_once(endpoint at, target& to, const attack& how, bool is_alone) {
    auto client = co_await Stream::connect(at);
    std::string answer = "no end";
    try {
        answer = co_await sapwood::timeout(60s, answer_to(client, how));
    } catch (const std::system_error& failure) {
        CHECK_MESSAGE(failure.code() != std::errc::timed_out, how.what << " has no end");
    }
    co_await client.close();
    // Together they are more than is held, or than is decompressed in the time that a body has.
    const bool is_put_off = !is_alone && (has(answer, "too many requests are under way") ||
                                          has(answer, "too many long requests are under way"));
    CHECK_MESSAGE((is_put_off || how.statuses.contains(status_in(answer))),
                  how.what << ": " << answer);
    to.acknowledged += status_in(answer) == 200 && !how.reads_late ? 1 : 0;
    CHECK_MESSAGE((how.reads_late ||
                   !has(answer.substr(std::min<std::size_t>(1, answer.size())), "HTTP/1.1 ")),
                  how.what << answer);
}

/// All kinds at once, each by so many connections.
void attack_with(target& to, const std::vector<attack>& kinds, int times) {
    sapwood::run([&]() -> task<> {
        sapwood::task_group all;
        for (int i = 0; i < times; ++i) {
            for (const attack& each : kinds) {
                if (each.is_of_lines) {
                    all.spawn(attack_once<unix_stream>(to.lines, to, each, times == 1));
                } else {
                    all.spawn(attack_once<tcp_stream>(to.http, to, each, times == 1));
                }
            }
        }
        co_await all.join();
    });
}

/// Somebody who behaves, on a thread of his own. Who has said nothing for as long as the server is
/// patient, because the machine let him not, may find his connection closed, and has another.
class good_client {
  public:
    good_client(const endpoint& of, std::chrono::nanoseconds patience)
        : to_(of),
          patience_(patience),
          works_([this] { work(); }) {}

    ~good_client() { stop(); }

    /// How many records he has sent, each acknowledged; 0 where one was not.
    std::size_t stop() {
        ends_ = true;
        if (works_.joinable()) {
            works_.join();
        }
        return is_well_ ? waited_.size() : 0;
    }

    /// How long he has waited for this share of his answers at most. He has stopped.
    [[nodiscard]] std::chrono::nanoseconds waited(double share) {
        const auto last = static_cast<double>(waited_.size() - 1);
        const auto at = waited_.begin() + static_cast<std::ptrdiff_t>(share * last);
        std::ranges::nth_element(waited_, at);
        return *at;
    }

    [[nodiscard]] std::chrono::nanoseconds median() { return waited(0.5); }

  private:
    using clock = std::chrono::steady_clock;

    void work() {
        const std::string request = post(R"({"good":true})");
        connect();
        do {
            const auto begin = clock::now();
            char answer[1024];
            ssize_t got = ::send(connection_.fd(), request.data(), request.size(), MSG_NOSIGNAL);
            if (got > 0) {
                got = ::recv(connection_.fd(), answer, sizeof(answer), 0);
            }
            const auto end = clock::now();
            if (got <= 0 && end - heard_at_ >= patience_) {
                connect();
                continue;
            }
            is_well_ = is_well_ && got > 0 && std::string_view(answer).starts_with("HTTP/1.1 200 ");
            heard_at_ = end;
            waited_.push_back(end - begin);
            std::this_thread::sleep_for(1ms); // he does not load it himself
        } while (is_well_ && (!ends_ || waited_.empty()));
    }

    void connect() {
        heard_at_ = clock::now();
        connection_ = sapwood::owned_fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        is_well_ = ::connect(connection_.fd(), to_.data(), to_.size()) == 0;
    }

    const endpoint to_;
    const std::chrono::nanoseconds patience_;
    std::atomic<bool> ends_ = false;
    // The thread's, until it has stopped.
    sapwood::owned_fd connection_;
    clock::time_point heard_at_;
    bool is_well_ = false;
    std::vector<std::chrono::nanoseconds> waited_;
    std::thread works_;
};

/// Bad input of one kind, again and again for so long, and once at least; how often.
std::size_t attack_for(target& to, const attack& how, std::chrono::duration<double> time) {
    std::size_t times = 0;
    const auto begin = std::chrono::steady_clock::now();
    do {
        attack_with(to, {how}, attackers_of_a_kind);
        ++times;
    } while (std::chrono::steady_clock::now() - begin < time);
    return times * attackers_of_a_kind;
}

void print_waits(std::string_view what, std::size_t attacks, good_client& good, std::uint64_t kib,
                 std::chrono::nanoseconds cpu = {}) {
    const auto ms = [&](double share) {
        return std::chrono::duration<double, std::milli>(good.waited(share)).count();
    };
    MESSAGE(fmt::format("{:32} {:>7} times, ms at 50, 99 and 100 %: {:6.2f} {:6.2f} {:6.2f}, KiB "
                        "more in its second half: {}, us of a processor each: {}",
                        what, attacks, ms(0.5), ms(0.99), ms(1), kib, cpu / 1us));
}

std::vector<std::string> options(const std::string& lines, std::chrono::milliseconds patience) {
    std::vector<std::string> all = {"--durability", "60", "--http", "127.0.0.1:0", "--unix", lines};
    for (const char* const what : {"head", "body", "idle", "answer"}) {
        const double seconds = std::chrono::duration<double>(patience).count();
        all.insert(all.end(), {"--limit", fmt::format("{}_seconds={}", what, seconds)});
    }
    for (const char* const limit :
         {"body_bytes=1000000", "decompressed_bytes=4000000", "held_bytes=4000000"}) {
        all.insert(all.end(), {"--limit", limit});
    }
    return all;
}

/// One with little room.
struct attacked_daemon {
    explicit attacked_daemon(std::chrono::milliseconds patience)
        : at(options(sockets / "lines", patience), 2),
          to{endpoint("127.0.0.1", static_cast<std::uint16_t>(at.ports.at(0))),
             endpoint::unix_path(sockets / "lines")} {}

    [[nodiscard]] std::uint64_t kib(const std::string& what) const {
        return kib_of(at.process->pid(), what);
    }

    void forget_peak() const { ::forget_peak(at.process->pid()); }

    [[nodiscard]] std::chrono::nanoseconds cpu() const { return cpu_of(at.process->pid()); }

    /// Somebody who behaves is served while many attack at once; how many records he had.
    std::size_t attack_by_many(const std::vector<attack>& kinds,
                               std::chrono::nanoseconds patience) {
        good_client good(to.http, patience);
        const auto begin = cpu();
        attack_with(to, kinds, attackers_of_a_kind);
        const auto used = cpu() - begin;
        const std::size_t served = good.stop();
        CHECK(served > 0);
        CHECK(good.median() < median_max);
        CHECK(used / (kinds.size() * attackers_of_a_kind) < cpu_max);
        return served;
    }

    /// And has it end.
    void check_log(std::size_t lines) {
        CHECK(at.stop().status == 0);
        CHECK(lines_in(at.log) == lines + to.acknowledged);
        CHECK(!has(contents_of(at.log), "smuggled"));
    }

    const temporary_directory sockets;
    daemon_under_test at;
    target to;
};

/// Whom the server has to wait for, and for how long it does: where it must not, a slow machine is
/// no reason.
struct attacks_of_a_patience {
    std::chrono::milliseconds patience;
    std::vector<std::vector<attack>> kinds;
};

std::vector<attacks_of_a_patience> all_attacks() {
    return {{30s, {mistakes_of_bodies(), mistakes_of_framing(), bombs()}}, {300ms, {slow_ones()}}};
}

} // namespace

TEST_SUITE("serve_attack") {
    TEST_CASE("bad input of every kind by many at once: others are served, memory stays as it is, "
              "and no line is forged") {
        for (const auto& [patience, kinds] : all_attacks()) {
            attacked_daemon daemon(patience);
            std::size_t lines = 0;
            const auto lines_of = [](const std::vector<attack>& kind, int times) {
                return static_cast<std::size_t>(
                    times * std::ranges::count(kind, true, &attack::is_of_lines));
            };
            for (const auto& each : kinds) {
                attack_with(daemon.to, each, 1); // it keeps what these have taken
                lines += lines_of(each, 1);
            }
            daemon.forget_peak();
            const std::uint64_t before = daemon.kib("VmRSS");
            for (const auto& each : kinds) {
                lines += daemon.attack_by_many(each, patience);
                lines += lines_of(each, attackers_of_a_kind);
            }
            const std::uint64_t most = daemon.kib("VmHWM");
            CAPTURE(before);
            CAPTURE(most);
            CHECK((SAPWOOD_ADDRESS_SANITIZER || most < before + kib_more_max));
            daemon.check_log(lines);
            CHECK(run_program("sapwood", {"verify", daemon.at.log}).status == 0);
        }
    }

    TEST_CASE(
        "each kind of bad input by itself: others are served, and the longer it lasts takes no "
        "more memory") {
        const char* const wanted = std::getenv("SAPWOOD_TEST_ATTACK_SECONDS");
        const std::chrono::duration<double> half(wanted != nullptr ? std::atof(wanted) : 0);
        for (const auto& [patience, kinds] : all_attacks()) {
            attacked_daemon daemon(patience);
            std::size_t lines = 0;
            if (wanted != nullptr) {
                good_client alone(daemon.to.http, patience);
                std::this_thread::sleep_for(half);
                lines += alone.stop();
                print_waits("nothing", 0, alone, 0);
            }
            for (const auto& kind : kinds) {
                for (const attack& each : kind) {
                    CAPTURE(std::string(each.what));
                    daemon.forget_peak();
                    good_client good(daemon.to.http, patience);
                    const auto begin = daemon.cpu();
                    std::size_t times = attack_for(daemon.to, each, half);
                    const std::uint64_t before = daemon.kib("VmHWM");
                    times += attack_for(daemon.to, each, half);
                    const std::uint64_t more = daemon.kib("VmHWM") - before;
                    const auto cpu_of_one = (daemon.cpu() - begin) / times;
                    const std::size_t served = good.stop();
                    lines += served + (each.is_of_lines ? times : 0);
                    CHECK(served > 0);
                    CHECK(good.median() < median_max);
                    CHECK(cpu_of_one < cpu_max);
                    CHECK((SAPWOOD_ADDRESS_SANITIZER || more < kib_more_in_half_max));
                    if (wanted != nullptr) {
                        print_waits(each.what, times, good, more, cpu_of_one);
                    }
                }
            }
            daemon.check_log(lines);
        }
    }
}
