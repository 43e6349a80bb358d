// `sapwood serve` that ends under load, again and again on the same log: killed, told to end, and
// together with its machine. Whatever got its 200 is in the log as it was sent, and nothing is
// there more often than it was sent. SAPWOOD_TEST_FAULT_CYCLES=200 ends it as often, at moments
// chosen by SAPWOOD_TEST_FAULT_SEED.
#include "support/collector_load.hpp"
#include "support/collector_process.hpp"
#include "support/durable_log_steps.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/task_group.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using namespace sapwood::test;

constexpr unsigned cycles_usual = 4;

/// A log is gone on with so often, and then a new one begun.
constexpr unsigned cycles_per_log = 20;

constexpr unsigned clients_per_log = 6;

/// What a client waits for at most, in all.
constexpr auto patience = 90s;

[[maybe_unused]] const int mounts_refused = scratch_disk::own_mounts();

unsigned setting(const char* name, unsigned usual) {
    const char* const text = std::getenv(name);
    return text != nullptr ? static_cast<unsigned>(std::atoi(text)) : usual;
}

/// A log, its collector, and who writes.
class scene {
  public:
    scene(const std::string& log, load_promise asked, std::mt19937& random)
        : daemon(log, {"--segment-bytes", "300000", "--queue-records", "64"}),
          random_(random) {
        for (unsigned i = 0; i < clients_per_log; ++i) {
            clients.push_back(std::make_unique<load_client>(i, random(), asked, counts));
        }
    }

    /// Starts the collector, and has `end` called at some moment while all clients send.
    void run(const std::function<void()>& end) {
        daemon.start();
        counts.is_cut_off = false;
        sapwood::run(send_until(end));
    }

    /// What is in the log of a collector that has ended.
    load_findings look() const {
        CHECK(run_program("sapwood", {"verify", daemon.log()}).status == 0);
        const load_findings seen = findings_of(daemon.log(), clients);
        CAPTURE(seen.example);
        CHECK(seen.missing == 0);
        CHECK(seen.repeated == 0);
        CHECK(seen.strange == 0);
        CHECK(seen.disordered == 0);
        CHECK(counts.surprises == std::vector<std::string>{});
        return seen;
    }

    load_counts counts;
    std::vector<std::unique_ptr<load_client>> clients;
    collector_process daemon;

  private:
    task<> send_until(std::function<void()> end) {
        sapwood::task_group sending;
        for (std::size_t i = 0; i < clients.size(); ++i) {
            sending.spawn(clients[i]->run(i % 2 == 0 ? daemon.tcp() : daemon.unix_socket()));
        }
        // Some are ended before they have answered anybody.
        const std::size_t enough =
            counts.requests_acknowledged + (random_() % 8 == 0 ? 0 : 1 + random_() % 300);
        const auto give_up = sapwood::clock::now() + patience;
        while (counts.requests_acknowledged < enough && sapwood::clock::now() < give_up) {
            co_await sapwood::sleep_for(100us);
        }
        CHECK(counts.requests_acknowledged >= enough);
        co_await sapwood::sleep_for(std::chrono::microseconds(random_() % 3000));
        end();
        co_await sending.join();
    }

    std::mt19937& random_;
};

/// Has `cycle` called as often as it is asked for, with a new log now and then, and `look` at its
/// end.
void end_again_and_again(const std::string& name, load_promise asked,
                         const std::function<void(scene&)>& cycle,
                         const std::function<load_findings(scene&)>& look) {
    const unsigned seed = setting("SAPWOOD_TEST_FAULT_SEED", 42);
    const unsigned cycles = setting("SAPWOOD_TEST_FAULT_CYCLES", cycles_usual);
    const auto began = sapwood::clock::now();
    std::mt19937 random(seed);
    std::size_t records = 0;
    std::size_t missing = 0;
    std::size_t put_off = 0;
    for (unsigned done = 0; done < cycles;) {
        scene now(fmt::format("{}{}", name, done / cycles_per_log), asked, random);
        for (unsigned i = 0; i < cycles_per_log && done < cycles; ++i, ++done) {
            CAPTURE(seed);
            CAPTURE(done);
            cycle(now);
        }
        CAPTURE(seed);
        CAPTURE(done);
        missing += look(now).missing;
        records += now.counts.records_acknowledged;
        put_off += now.counts.requests_put_off;
    }
    CHECK(records > cycles);
    if (cycles != cycles_usual) {
        MESSAGE(
            "seed " << seed << ": " << cycles << " cycles, " << records << " records acknowledged, "
                    << missing << " of them missing, " << put_off << " requests put off, in "
                    << fmt::format(
                           "{:.1f} s",
                           std::chrono::duration<double>(sapwood::clock::now() - began).count()));
    }
}

/// What is torn at the end is cut off when it starts.
load_findings look_after_restart(scene& now) {
    now.daemon.start();
    CHECK(now.daemon.stop().status == 0);
    return now.look();
}

} // namespace

TEST_SUITE("serve_kill") {
    TEST_CASE("killed under load, it listens again, and what was acknowledged is there as sent") {
        const temporary_directory folder;
        end_again_and_again(
            folder / "log", load_promise::survives_kill,
            [](scene& now) { now.run([&now] { now.daemon.kill(); }); }, look_after_restart);
    }

    TEST_CASE("its machine's power is cut under load: what was durable is there as sent") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 64u << 20);
        if (disk == nullptr) {
            return;
        }
        end_again_and_again(
            *disk / "log", load_promise::survives_power_cut,
            [&disk](scene& now) {
                now.run([&] {
                    now.counts.is_cut_off = true;
                    disk->cut_power();
                    now.daemon.kill();
                });
                disk->mount_again();
            },
            look_after_restart);
    }

    TEST_CASE("told to end under load, all that it has taken is there, and acknowledged") {
        const temporary_directory folder;
        end_again_and_again(
            folder / "log", load_promise::survives_kill,
            [](scene& now) {
                now.run([&now] { now.daemon.signal(SIGTERM); });
                const auto outcome = now.daemon.wait();
                CHECK(outcome.status == 0);
                CHECK(outcome.err == "");
                CHECK(outcome.out.ends_with(" 0 connections cut off\n"));
            },
            [](scene& now) {
                const load_findings seen = now.look();
                CHECK(seen.unacknowledged == 0);
                CHECK(seen.lines == now.counts.records_acknowledged);
                return seen;
            });
    }
}
