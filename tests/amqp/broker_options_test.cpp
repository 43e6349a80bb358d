// sapwood serve and sapwood send, from outside: what they say of a broker on their command lines.
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <collector/collector_options.hpp>
#include <collector/settings.hpp>

#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using sapwood::test::program;
using sapwood::test::run_program;
using words = std::vector<std::string>;

/// Where nothing is listening.
constexpr const char* nowhere = "amqp://u:pa55w0rd@127.0.0.1:1/";

program::outcome run_without_broker(words arguments) {
    program::streams plain;
    plain.prepare = [] { (void)::unsetenv("SAPWOOD_AMQP_URL"); };
    program::outcome done = run_program("sapwood", std::move(arguments), plain);
    CHECK((done.out + done.err).find("pa55w0rd") == std::string::npos);
    return done;
}

/// What is said of a command line that is wrong.
std::string said_of(words arguments) {
    const program::outcome done = run_without_broker(std::move(arguments));
    CHECK(done.status == 2);
    return done.err;
}

bool holds(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

} // namespace

TEST_SUITE("broker_options") {
    TEST_CASE("send says which of broker, queue and exchange is missing") {
        CHECK(holds(said_of({"send", "--queue", "q", "-m", "x"}), "say which broker: --amqp"));
        CHECK(holds(said_of({"send", "--amqp", nowhere, "-m", "x"}), "--queue NAME or --exchange"));
        CHECK(holds(said_of({"send", "--queue", "q", "--unix", "/x", "-m", "x"}), "excludes"));
        CHECK(holds(said_of({"send", "--routing-key", "k", "-m", "x"}), "requires --exchange"));
        CHECK(holds(said_of({"send", "--amqp", "/none", "--queue", "q", "-m", "x"}), "/none"));
        CHECK(holds(said_of({"send", "--amqp", "u:pa55w0rd@h", "--queue", "q", "-m", "x"}),
                    "as it may hold a password"));
        CHECK(holds(said_of({"send", "--amqp", "http://u:pa55w0rd@h", "--queue", "q", "-m", "x"}),
                    "begins with amqp"));
    }

    TEST_CASE("what cannot be sent to a broker is counted, and the exit code is 1") {
        const sapwood::test::temporary_directory at;
        std::ofstream(at / "broker") << nowhere << "\n";
        const auto done = run_without_broker({"send", "--amqp", at / "broker", "--queue", "q",
                                              "--give-up-after", "0.01", "-m", "x"});
        CHECK(done.status == 1);
        CHECK(holds(done.err, "1 of 1 record was not acknowledged: cannot connect to amqp://u@"));
        CHECK(done.err.ends_with(")\n")); // the reason is said once
    }

    TEST_CASE("why a broker cannot be reached serve says once") {
        const sapwood::test::temporary_directory at;
        const int err = ::open((at / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        program serving("sapwood",
                        {"serve", "--log", at / "app.log", "--amqp", nowhere, "--queue", "q"},
                        {.err = err});
        ::close(err);
        const auto said = [&] { return sapwood::test::contents_of(at / "err"); };
        sapwood::test::eventually([&] { return holds(said(), "it is tried again"); });
        serving.signal(SIGTERM);
        CHECK(serving.wait().status == 0);
        CHECK(holds(said(), ": Connection refused)); it is tried again\n"));
    }

    TEST_CASE("serve checks its queues, and what is wrong with one is said") {
        const sapwood::test::temporary_directory at;
        const auto serve = [&](words more) {
            words all{"serve", "--check", "--log", at / "app.log"};
            all.insert(all.end(), more.begin(), more.end());
            return all;
        };
        const auto well =
            run_without_broker(serve({"--amqp", nowhere, "--queue", "q", "--queue", "app=other"}));
        CHECK(well.status == 0);
        CHECK(holds(well.out, "1 log, 0 places to listen at, 2 queues: well"));
        CHECK(holds(said_of(serve({"--queue", "q"})), "say which broker's: --amqp"));
        CHECK(holds(said_of(serve({"--amqp", "u:pa55w0rd@h", "--queue", "q"})),
                    "as it may hold a password"));
        CHECK(holds(said_of(serve({"--amqp", nowhere, "--queue", "q", "--queue", "app=q"})),
                    "queue q of the same broker is consumed twice"));
        CHECK(holds(said_of(serve({"--amqp", nowhere})), "say which queue of it"));
        CHECK(holds(said_of(serve({"--amqp", nowhere, "--queue", "none=q"})),
                    "queue q is for log none, which there is not"));
        CHECK(holds(said_of(serve({"--amqp", nowhere, "--queue", "q", "--prefetch", "0"})),
                    "--prefetch"));
        CHECK(holds(said_of(serve({"--amqp", "http://u:pa55w0rd@h", "--queue", "q"})),
                    "queue q: AMQP URL: it begins with amqp"));
        std::ofstream(at / "broker") << nowhere << "\n";
        (void)::chmod((at / "broker").c_str(), 0644);
        CHECK(
            holds(said_of(serve({"--amqp", at / "broker", "--queue", "q"})), "others may read it"));
        (void)::chmod((at / "broker").c_str(), 0600);
        CHECK(run_without_broker(serve({"--amqp", at / "broker", "--queue", "q"})).status == 0);
    }

    TEST_CASE("a broker is one by whichever of its names it is called") {
        const auto is_one = [](const char* one, const char* other) {
            using sapwood::collector::queue_options;
            return is_one_queue(queue_options{.url = one, .queue = "q", .log = {}},
                                queue_options{.url = other, .queue = "q", .log = {}});
        };
        for (const char* const same :
             {"amqp://127.0.0.1", "amqp://127.1.2.3", "amqp://[::1]:05672", "amqp://[0:0::1]",
              "amqp://[::ffff:127.0.0.1]", "amqp://LOCALHOST.", "amqps://localhost",
              "amqp://other,localhost/", "amqp://u:p@localhost/%2f"}) {
            CAPTURE(same);
            CHECK(is_one("amqp://localhost", same));
        }
        CHECK(is_one("amqp://[fe80:0::1]", "amqp://[FE80::1]"));
        for (const char* const other : {"amqp://localhost:5673", "amqp://128.0.0.1", "amqp://h",
                                        "amqp://localhost/v", "amqp://[::2]"}) {
            CAPTURE(other);
            CHECK_FALSE(is_one("amqp://localhost", other));
        }
    }

    TEST_CASE("queues of one name go to logs of their own") {
        sapwood::collector::collector_options options;
        for (const char* const name : {"app", "audit"}) {
            auto& log = options.logs.emplace_back();
            log.name = name;
            log.path = std::string("/tmp/") + name;
        }
        options.queues.push_back({.url = "amqp://one", .queue = "q", .log = {}});
        options.queues.push_back({.url = "amqp://two", .queue = "q", .log = "app"});
        CHECK_THROWS_WITH_AS(require_valid(options),
                             doctest::Contains("two queues named q go to log app"),
                             std::invalid_argument);
        options.queues[1].log = "audit";
        CHECK_NOTHROW(require_valid(options));
        options.queues[1].url = "amqp://ONE.";
        CHECK_THROWS_WITH_AS(require_valid(options), doctest::Contains("consumed twice"),
                             std::invalid_argument);
    }

    TEST_CASE("a URL may be in a file that nobody else may read") {
        const sapwood::test::temporary_directory directory;
        const std::string path = directory / "url";
        std::ofstream(path) << "amqp://u:secret@h/\n";
        (void)::chmod(path.c_str(), 0600);
        CHECK(sapwood::collector::broker_url(path) == "amqp://u:secret@h/");
        (void)::chmod(path.c_str(), 0644);
        CHECK_THROWS_WITH_AS((void)sapwood::collector::broker_url(path),
                             doctest::Contains("others may read it"), std::runtime_error);
        for (const char* const wrong : {"http://u:secret@h/", "amqp://u:secret@h/a/b"}) {
            try {
                require_valid(
                    sapwood::collector::queue_options{.url = wrong, .queue = "q", .log = {}});
                FAIL("it is none");
            } catch (const std::invalid_argument& why) {
                CHECK(holds(why.what(), "queue q: "));
                CHECK_FALSE(holds(why.what(), "secret"));
            }
        }
    }

    TEST_CASE("settings name queues, and what is wrong with one is told with its line") {
        if (!sapwood::collector::can_read_settings()) {
            return;
        }
        const sapwood::test::temporary_directory directory;
        const std::string path = directory / "serve.toml";
        const auto read = [&](std::string_view of_queue) {
            std::ofstream(path) << "[[log]]\nname = \"app\"\npath = \"app.log\"\n[[amqp]]\n"
                                << "url = \"amqp://u:secret@h/\"\n"
                                << of_queue;
            return sapwood::collector::read_settings(path);
        };
        const auto good = read("queue = \"logs\"\nlog = \"app\"\nprefetch = 9\n");
        REQUIRE(good.queues.size() == 1);
        CHECK(good.queues[0] ==
              sapwood::collector::queue_options{
                  .url = "amqp://u:secret@h/", .queue = "logs", .log = "app", .prefetch = 9});
        CHECK_THROWS_WITH((void)read("queue = \"q\"\nprefetch = 65536\n"),
                          doctest::Contains("serve.toml:7: amqp.prefetch"));
        CHECK_THROWS_WITH((void)read("prefetch = 1\n"), doctest::Contains("amqp.queue"));
        CHECK_THROWS_WITH((void)read("queue = \"q\"\nquorum = true\n"),
                          doctest::Contains("amqp.quorum: is not known here"));
        auto wrong = good;
        wrong.queues[0].log = "none";
        CHECK_THROWS_WITH(require_valid(wrong), "queue logs is for log none, which there is not");
    }
}
