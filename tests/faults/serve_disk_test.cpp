// `sapwood serve` on a disk that hangs, and on one that is full: what clients and operators are
// told meanwhile, and what is in the log. As root; elsewhere skipped, with the reason.
#include "support/collector_process.hpp"
#include "support/durable_log_steps.hpp"
#include "support/http_exchange.hpp"
#include "support/stalling_disk.hpp"

#include <sapwood/run.hpp>
#include <sapwood/tcp.hpp>

#include <chrono>
#include <csignal>
#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <sys/syscall.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using namespace sapwood::test;

[[maybe_unused]] const int mounts_refused = scratch_disk::own_mounts();

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

task<> ask(sapwood::endpoint to, std::string request, http_answer& answer) {
    auto connection = co_await sapwood::tcp_stream::connect(to);
    sapwood::buffered_reader<sapwood::stream> reader(connection);
    co_await connection.write_all(std::string_view(request));
    const auto got = co_await read_answer(reader);
    REQUIRE(got.has_value());
    answer = *got;
}

http_answer answer_to(const collector_process& with, const std::string& request) {
    http_answer answer;
    sapwood::run(ask(with.tcp(), request, answer));
    return answer;
}

unsigned status_of(const collector_process& of, std::string_view target) {
    return answer_to(of, get_request(target)).status;
}

task<> send_and_leave(sapwood::endpoint to, std::string request) {
    auto connection = co_await sapwood::tcp_stream::connect(to);
    co_await connection.write_all(std::string_view(request));
}

class frozen {
  public:
    explicit frozen(scratch_disk& disk) : disk_(disk) { disk_.freeze(); }

    frozen(const frozen&) = delete;
    frozen& operator=(const frozen&) = delete;

    ~frozen() { disk_.thaw(); }

  private:
    scratch_disk& disk_;
};

/// Its program is over: all that is left of the process waits in the kernel for the disk, or is
/// gone.
bool has_left(pid_t process) {
    const std::string stat = contents_of(fmt::format("/proc/{}/stat", process));
    const auto state = stat.rfind(") ");
    const std::string call = contents_of(fmt::format("/proc/{}/syscall", process));
    return (state != stat.npos && stat.at(state + 2) == 'Z') ||
           call.starts_with(fmt::format("{} ", SYS_exit_group));
}

} // namespace

TEST_SUITE("serve_disk") {
    TEST_CASE("told to end while its disk hangs, it says so, and leaves without waiting for it") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 16u << 20);
        if (disk == nullptr) {
            return;
        }
        collector_process daemon(*disk / "app.log", {"--drain", "0.2"});
        daemon.start();
        CHECK(answer_to(daemon, post_request("/log", R"({"n":1})")).status == 200);
        {
            const frozen now(*disk);
            sapwood::run(send_and_leave(daemon.tcp(), post_request("/log", R"({"n":2})")));
            eventually([&] { // it is taken
                return has(answer_to(daemon, get_request("/metrics")).body, "_records_total 2\n");
            });
            daemon.signal(SIGTERM);
            eventually([&] { return has_left(daemon.process().pid()); });
        }
        const auto outcome = daemon.wait();
        CHECK(outcome.status == 1);
        CHECK(outcome.err == fmt::format("sapwood: log app: 1 records are not in {}: its disk does "
                                         "not answer\n",
                                         daemon.log()));
        CHECK(has(outcome.out, "2 records, "));
        CHECK(verified(daemon.log()).lines >= 1);
    }

    TEST_CASE("a full disk: requests are put off, it says why, and goes on by itself") {
        const auto disk = disk_of(scratch_disk::kind::tmpfs, 256u << 10);
        if (disk == nullptr) {
            return;
        }
        fill(*disk / "ballast", std::string(128u << 10, 'x'));
        collector_process daemon(*disk / "app.log", {"--limit", "acknowledgement_seconds=3"});
        daemon.start();
        std::vector<std::string> acknowledged;
        const auto post = [&](int number) {
            const std::string record =
                fmt::format(R"({{"n":{},"text":"{}"}})", number, std::string(5000, 'x'));
            const http_answer answer = answer_to(daemon, post_request("/log", record));
            if (answer.status == 200) {
                acknowledged.push_back(record);
            }
            return answer;
        };
        http_answer last = post(0);
        for (int i = 1; i < 100 && status_of(daemon, "/readyz") == 200; ++i) {
            last = post(i);
        }
        CHECK(acknowledged.size() > 10);
        CHECK(last.status == 503); // its time was over
        CHECK(has(last.head, "\r\nRetry-After: "));
        const http_answer refused = post(100);
        CHECK(refused.status == 503);
        CHECK(has(refused.head, "\r\nRetry-After: "));
        CHECK(has(refused.body, "the log takes no records now: No space left on device"));
        CHECK(status_of(daemon, "/healthz") == 200);
        const http_answer ready = answer_to(daemon, get_request("/readyz"));
        CHECK(ready.status == 503);
        CHECK(has(ready.body, "log app: "));
        std::filesystem::remove(*disk / "ballast");
        eventually([&] { return status_of(daemon, "/readyz") == 200; });
        CHECK(post(101).status == 200);
        const auto outcome = daemon.stop();
        CHECK(outcome.status == 0);
        CHECK(verified(daemon.log()).is_whole());
        const std::string text = contents_of(daemon.log());
        for (const std::string& each : acknowledged) {
            CHECK(has(text, "] " + each + "\n"));
        }
        CHECK_FALSE(has(text, R"({"n":100,)")); // refused, and not taken
    }
}
