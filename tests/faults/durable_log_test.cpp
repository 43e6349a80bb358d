// A durable log on real disks that fail: each record that was acknowledged is there afterwards, no
// line is torn, and the account is exact. As root; elsewhere what cannot be had is skipped, with
// the reason. SAPWOOD_TEST_FAULT_CYCLES=1000 cuts the power and kills as often, at moments chosen
// by SAPWOOD_TEST_FAULT_SEED.
#include "support/durable_log_steps.hpp"

#include <sapwood/run.hpp>
#include <sapwood/spawn.hpp>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::lsn;
using sapwood::pipeline;
using sapwood::pipeline_options;
using sapwood::task;
using namespace sapwood::test;

constexpr int cycles_usual = 5;

/// Of so many kills some are in the midst of a write.
constexpr int cycles_that_tear = 50;

/// A log is opened and killed so often, and then a new one begun: each cycle reads all of it.
constexpr int cycles_per_log = 20;

int setting(const char* name, int usual) {
    const char* const text = std::getenv(name);
    return text != nullptr ? std::atoi(text) : usual;
}

/// What the child and the test have in common.
struct shared_page {
    std::atomic<std::uint64_t> acknowledged{0};

    static shared_page& make() {
        void* const memory = ::mmap(nullptr, sizeof(shared_page), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        return *new (memory) shared_page;
    }
};

/// Takes all the space there is.
void fill_up(const std::string& path) {
    std::ofstream file(path, std::ios::binary);
    const std::string some(4096, 'x');
    while (file.write(some.data(), static_cast<std::streamsize>(some.size())) && file.flush()) {
    }
}

task<> produce_for_ever(pipeline& log, std::size_t bytes, shared_page& page) {
    for (;;) {
        const lsn place = co_await append(log, bytes);
        co_await log.durable(place);
        std::uint64_t before = page.acknowledged.load();
        while (before < sapwood::to_number(place) &&
               !page.acknowledged.compare_exchange_weak(before, sapwood::to_number(place))) {
        }
    }
}

/// What a writer is to do.
struct work {
    int producers;
    std::size_t record_bytes;
    std::size_t preallocated_bytes;
};

task<> write_for_ever(std::string path, work todo, shared_page& page) {
    pipeline_options options = durable();
    options.segment_bytes_max = 300'000;
    pipeline log = co_await opened(path, options, todo.preallocated_bytes);
    std::vector<sapwood::join_handle<>> all;
    for (int i = 0; i < todo.producers; ++i) {
        all.push_back(sapwood::spawn(produce_for_ever(log, todo.record_bytes, page)));
    }
    for (auto& each : all) {
        co_await each;
    }
}

/// A process that writes until it is killed.
class writer {
  public:
    writer(const std::string& path, const work& todo, shared_page& page) {
        pid_ = ::fork();
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            try {
                sapwood::run(write_for_ever(path, todo, page));
            } catch (...) {
            }
            ::_exit(1);
        }
    }

    writer(const writer&) = delete;
    writer& operator=(const writer&) = delete;

    ~writer() { kill(); }

    void kill() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
            pid_ = -1;
        }
    }

  private:
    pid_t pid_ = -1;
};

void wait_for(const shared_page& page, std::uint64_t acknowledged) {
    while (page.acknowledged.load() < acknowledged) {
        std::this_thread::yield();
    }
}

[[maybe_unused]] const int mounts_refused = scratch_disk::own_mounts();

task<> open_and_close(std::string path) {
    pipeline log = co_await opened(path, durable());
    co_await log.close();
}

/// Kills writers of logs again and again; with `cut` just before, if there is one, and `mend`
/// after.
void kill_again_and_again(const std::string& name, std::size_t bytes, std::size_t preallocated,
                          const std::function<void()>& cut, const std::function<void()>& mend) {
    const int seed = setting("SAPWOOD_TEST_FAULT_SEED", 42);
    const int cycles = setting("SAPWOOD_TEST_FAULT_CYCLES", cycles_usual);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    auto& page = shared_page::make();
    std::uint64_t records = 0;
    int torn = 0;
    for (int cycle = 0; cycle < cycles; ++cycle) {
        CAPTURE(seed);
        CAPTURE(cycle);
        const std::string path = fmt::format("{}{}", name, cycle / cycles_per_log);
        if (cycle % cycles_per_log == 0) {
            page.acknowledged = 0;
        }
        const std::uint64_t before = page.acknowledged.load();
        std::uint64_t acknowledged = 0;
        {
            writer child(path,
                         {.producers = 1 + static_cast<int>(random() % 16),
                          .record_bytes = bytes,
                          .preallocated_bytes = preallocated},
                         page);
            wait_for(page, before + 1 + random() % 200);
            // What is acknowledged while the shutdown is under way is none: nothing runs after a
            // power cut, and an ext4 that is being shut down says of a sync that meets it that it
            // has succeeded.
            acknowledged = page.acknowledged.load();
            if (cut) {
                cut();
            }
            child.kill();
            if (!cut) { // what it has acknowledged up to the end
                acknowledged = page.acknowledged.load();
            }
        }
        if (mend) {
            mend();
        }
        sapwood::run(open_and_close(path));
        const auto log = verified(path);
        CHECK(log.is_whole());
        CHECK(log.first == lsn{1});
        CHECK(log.last >= lsn{acknowledged});
        torn += std::filesystem::exists(path + ".torn") ? 1 : 0;
        std::filesystem::remove(path + ".torn");
        page.acknowledged = sapwood::to_number(log.last);
        records += acknowledged - before;
    }
    ::munmap(&page, sizeof(page));
    if (cycles != cycles_usual) {
        MESSAGE("seed " << seed << ": " << cycles << " cycles, " << records
                        << " records acknowledged, each of them there; " << torn
                        << " times the end was torn");
    }
    if (cycles >= cycles_that_tear && !cut && preallocated == 0) {
        CHECK(torn > 0); // else it was not in the midst of batches
    }
}

} // namespace

TEST_SUITE("durable_log") {
    TEST_CASE("killed in the middle of batches: what was acknowledged is there, no line is torn") {
        const temporary_directory folder;
        kill_again_and_again(folder / "log", 5'000, 0, {}, {});
    }

    TEST_CASE("killed where space is preallocated: the same") {
        const temporary_directory folder;
        kill_again_and_again(folder / "log", 5'000, 128u << 10, {}, {});
    }

    TEST_CASE("the power is cut: what was acknowledged is there, no line is torn") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 64u << 20);
        if (disk == nullptr) {
            return;
        }
        kill_again_and_again(
            *disk / "log", 500, 0, [&] { disk->cut_power(); }, [&] { disk->mount_again(); });
    }

    TEST_CASE("the power is cut where space is preallocated: the same") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 64u << 20);
        if (disk == nullptr) {
            return;
        }
        kill_again_and_again(
            *disk / "log", 500, 64u << 10, [&] { disk->cut_power(); },
            [&] { disk->mount_again(); });
    }

    TEST_CASE("a full disk with space that is preallocated: as without, and no new segment") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 4u << 20);
        if (disk == nullptr) {
            return;
        }
        sapwood::run([](std::string path, std::string ballast) -> task<> {
            pipeline log = co_await opened(path, durable(), 64u << 10);
            co_await log.durable(co_await append(log, 100));
            fill_up(ballast);
            std::vector<sapwood::join_handle<lsn>> all;
            for (int i = 0; i < 200; ++i) {
                all.push_back(sapwood::spawn(append(log, 1000)));
            }
            co_await until_degraded(log, std::errc::no_space_on_device);
            std::filesystem::remove(ballast);
            for (auto& each : all) {
                (void)co_await each;
            }
            co_await log.durable(lsn{201});
            CHECK(log.counts().lines_lost == 0);
            CHECK(log.counts().segments_begun == 0);
            co_await log.close();
            check_account(log);
        }(*disk / "log", *disk / "ballast"));
        CHECK(verified(*disk / "log").is_whole());
        CHECK(verified(*disk / "log").lines == 201);
    }

    TEST_CASE("a full disk: nothing is lost, and it goes on by itself when there is space") {
        const auto disk = disk_of(scratch_disk::kind::tmpfs, 256u << 10);
        if (disk == nullptr) {
            return;
        }
        fill(*disk / "ballast", std::string(128u << 10, 'x'));
        sapwood::run([](std::string path, std::string ballast) -> task<> {
            pipeline log = co_await opened(path, durable());
            std::vector<sapwood::join_handle<lsn>> all;
            for (int i = 0; i < 200; ++i) {
                all.push_back(sapwood::spawn(append(log, 1000)));
            }
            co_await until_degraded(log, std::errc::no_space_on_device);
            CHECK(log.counts().durable < lsn{200});
            std::filesystem::remove(ballast);
            for (auto& each : all) {
                (void)co_await each;
            }
            co_await log.durable(lsn{200});
            CHECK(!log.health().is_degraded());
            co_await log.close();
            check_account(log);
            CHECK(log.counts().lines_lost == 0);
        }(*disk / "log", *disk / "ballast"));
        const auto log = verified(*disk / "log");
        CHECK(log.is_whole());
        CHECK(log.lines == 200);
        CHECK(log.repeated == 0);
    }

    TEST_CASE("past the file size limit: nothing is lost, and it goes on when it is raised") {
        struct rlimit before {};

        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
        const temporary_directory folder;
        sapwood::run([](std::string path, rlimit limit) -> task<> {
            pipeline log = co_await opened(path, durable());
            limit.rlim_cur = 64u << 10;
            REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
            for (int i = 0; i < 100; ++i) {
                (void)co_await append(log, 1000);
            }
            co_await until_degraded(log, std::errc::file_too_large);
            limit.rlim_cur = limit.rlim_max;
            REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
            co_await log.durable(lsn{100});
            co_await log.close();
            check_account(log);
        }(folder / "log", before));
        ::setrlimit(RLIMIT_FSIZE, &before);
        CHECK(verified(folder / "log").is_whole());
        CHECK(verified(folder / "log").lines == 100);
    }

    TEST_CASE("an immutable file: nothing is lost, and it goes on when it is mutable again") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 16u << 20);
        if (disk == nullptr) {
            return;
        }
        sapwood::run([](std::string path) -> task<> {
            pipeline log = co_await opened(path, durable());
            co_await log.durable(co_await append(log, 100));
            set_immutable(path, true);
            const lsn place = co_await append(log, 100);
            co_await until_degraded(log, std::errc::operation_not_permitted);
            set_immutable(path, false);
            co_await log.durable(place);
            co_await log.close();
            check_account(log);
        }(*disk / "log"));
        CHECK(verified(*disk / "log").is_whole());
        CHECK(verified(*disk / "log").lines == 2);
    }

    TEST_CASE("an immutable directory: a full segment is gone on in, until there can be another") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 16u << 20);
        if (disk == nullptr) {
            return;
        }
        const std::string folder = *disk / "logs";
        std::filesystem::create_directory(folder);
        sapwood::run([](std::string in) -> task<> {
            pipeline_options options = durable();
            options.segment_bytes_max = 150;
            pipeline log = co_await opened(in + "/log", options);
            set_immutable(in, true);
            for (int i = 0; i < 3; ++i) {
                co_await log.durable(co_await append(log, 100));
            }
            set_immutable(in, false);
            CHECK(!log.health().is_degraded());
            CHECK(log.counts().segments_begun == 0);
            while (log.counts().segments_begun == 0) { // it is tried again after a second
                co_await log.durable(co_await append(log, 100));
            }
            co_await log.close();
            check_account(log);
        }(folder));
        CHECK(verified(folder + "/log").is_whole());
    }

    TEST_CASE("a disk that is gone: nothing is acknowledged, and what is lost is counted") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 16u << 20);
        if (disk == nullptr) {
            return;
        }
        sapwood::run([](scratch_disk& of, std::string path) -> task<> {
            pipeline_options options = durable();
            options.give_up_after = 50ms;
            pipeline log = co_await opened(path, options);
            co_await log.durable(co_await append(log, 100));
            of.cut_power();
            (void)co_await append(log, 100);
            const lsn last = co_await append(log, 100);
            co_await until_degraded(log, std::errc::io_error);
            bool has_thrown = false;
            try {
                co_await log.close();
            } catch (const std::system_error&) {
                has_thrown = true;
            }
            CHECK(has_thrown);
            check_account(log);
            CHECK(!(co_await as_result(log.durable(last))));
            CHECK(log.counts().lines_lost == 2);
            CHECK(log.counts().durable == lsn{1});
        }(*disk, *disk / "log"));
        disk->mount_again();
        CHECK(verified(*disk / "log").lines == 1);
    }

    TEST_CASE("a frozen disk: the loop lives, the log says degraded, and nothing is lost") {
        const auto disk = disk_of(scratch_disk::kind::ext4, 16u << 20);
        if (disk == nullptr) {
            return;
        }
        sapwood::run([](scratch_disk& of, std::string path) -> task<> {
            pipeline log = co_await opened(path, durable());
            co_await log.durable(co_await append(log, 100));
            of.freeze();
            const lsn place = co_await append(log, 100);
            co_await until_degraded(log, std::errc::timed_out);
            of.thaw();
            co_await log.durable(place);
            co_await log.close();
            check_account(log);
        }(*disk, *disk / "log"));
        CHECK(verified(*disk / "log").lines == 2);
    }

    TEST_CASE("a file that is renamed, removed or cut: the log goes on, and its numbers too") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        lsn accepted = lsn::none;
        sapwood::run([](std::string of, std::string aside, lsn& last) -> task<> {
            pipeline log = co_await opened(of, durable());
            const auto go_on = [&log](std::uint64_t reopened) -> task<> {
                while (log.counts().accepted < lsn{1000} && log.file().reopened < reopened) {
                    co_await log.durable(co_await append(log, 100));
                    co_await sapwood::sleep_for(20ms);
                }
            };
            co_await log.durable(co_await append(log, 100));
            std::filesystem::rename(of, aside);
            co_await go_on(1);
            CHECK(std::filesystem::exists(of));
            std::filesystem::remove(of);
            co_await go_on(2);
            CHECK(std::filesystem::exists(of));
            std::filesystem::resize_file(of, 0);
            co_await log.durable(co_await append(log, 100));
            co_await log.close();
            check_account(log);
            CHECK(log.file().reopened == 2);
            last = log.counts().accepted;
        }(path, folder / "aside", accepted));
        CHECK(verified(folder / "aside").is_whole());
        CHECK(verified(path).is_whole());
        CHECK(accepted > lsn{3});
        // What came after he had cut it is there, and nothing else.
        CHECK(verified(path).first == accepted);
        CHECK(verified(path).last == accepted);
    }
}
