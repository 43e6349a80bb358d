// Rotated files: their names, which are kept, compression that may be broken off anywhere.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/log_files.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include "compress_file.hpp"
#include "rotated_files.hpp"

#include <sapwood/owned_fd.hpp>
#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/sleep.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <filesystem>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <system_error>
#include <unistd.h>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using detail::house_rules;
using detail::keep_house;
using detail::log_milliseconds;
using detail::parse_rotated_name;
using detail::rotated_file;
using detail::rotated_name;
using test::contents_of;
using test::files_like;
using test::fill;
using test::numbers;
using test::put;
using test::temporary_directory;
using strings = std::vector<std::string>;

/// 2026-11-26 14:00:00 UTC.
constexpr log_milliseconds two_o_clock{std::chrono::seconds(1'795'701'600)};

const std::atomic<bool> go_on{false};
const std::atomic<bool> stop{true};

/// `log` in a directory, with rotated files of 100 bytes, the first at two o'clock, then at each
/// full hour.
class rotated_log {
  public:
    explicit rotated_log(int files) {
        for (int i = 0; i < files; ++i) {
            fill(name(i), std::string(99, static_cast<char>('a' + i)) + "\n");
        }
    }

    [[nodiscard]] std::string path() const { return directory_ / "log"; }

    [[nodiscard]] std::string name(int i, const char* ending = "") const {
        return rotated_name(path(), two_o_clock + i * 1h) + ending;
    }

    detail::house_report keep(const house_rules& rules, int hours = 10) const {
        return keep_house(path(), rules, two_o_clock + hours * 1h, go_on);
    }

    [[nodiscard]] strings names(std::initializer_list<int> which) const {
        strings all;
        for (const int i : which) {
            all.push_back(name(i));
        }
        return all;
    }

    [[nodiscard]] const temporary_directory& directory() const { return directory_; }

  private:
    temporary_directory directory_;
};

/// What `zstd -d` makes of it; the tool, not the library that has compressed it.
std::string decompressed(const std::string& path) {
    const std::string to = path + ".out";
    REQUIRE(std::system(("zstd -dqf " + path + " -o " + to).c_str()) == 0);
    const std::string text = contents_of(to);
    std::filesystem::remove(to);
    return text;
}

bool has_zstd() {
    if (!detail::can_compress() || std::system("zstd --version >/dev/null 2>&1") != 0) {
        MESSAGE("skipped: needs zstd, the library when this was built, and the tool");
        return false;
    }
    return true;
}

/// What this thread syncs while it is not null: names, and `+` where the original is there still.
thread_local strings* synced = nullptr;

} // namespace

/// In the place of the C library's, which makes the same call.
extern "C" int fsync(int fd) {
    if (synced != nullptr) {
        const auto name =
            std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)).string();
        const std::string original =
            name.ends_with(".zst.tmp") ? name.substr(0, name.size() - 8) : synced->front();
        synced->push_back(name.substr(name.rfind('/') + 1) +
                          (std::filesystem::exists(original) ? "+" : ""));
    }
    return static_cast<int>(::syscall(SYS_fsync, fd));
}

TEST_SUITE("rotated_files") {

    // --- names ---

    TEST_CASE("a name says when its file was rotated, to the millisecond, and can be read back") {
        CHECK(rotated_name("x/log", two_o_clock + 12min + 3s + 45ms) ==
              "x/log.20261126T141203.045Z");
        for (const auto& [ending, kind] : {std::pair{"", rotated_file::kind::plain},
                                           std::pair{".zst", rotated_file::kind::compressed},
                                           std::pair{".zst.tmp", rotated_file::kind::unfinished}}) {
            const auto parsed =
                parse_rotated_name(rotated_name("log", two_o_clock + 999ms) + ending, "log");
            REQUIRE(parsed);
            CHECK(parsed->when == two_o_clock + 999ms);
            CHECK(parsed->what == kind);
        }
    }

    TEST_CASE("what has another name is not the log's") {
        for (const char* const other :
             {"log", "log.1", "log.torn", "log.20261126T140000.000", "log.20261126T140000.000z",
              "log.20261126T140000.000Z.gz", "log.20261126T140000.000Z.zst.tmp2",
              "log.20261126T140000.000Zx", "log.20261126T140000.0000Z", "log.2026-126T140000.000Z",
              "log.20260231T140000.000Z", "log.20261126T240000.000Z", "log.20261126T140060.000Z",
              "log.20261326T140000.000Z", "log-20261126T140000.000Z", "xlog.20261126T140000.000Z",
              "LOG.20261126T140000.000Z", "log.+0261126T140000.000Z", ""}) {
            CAPTURE(other);
            CHECK(!parse_rotated_name(other, "log"));
        }
    }

    // --- which are kept ---

    TEST_CASE("as many as are to be kept are, the newest") {
        const rotated_log log(5);
        CHECK(log.keep({.keep_files = 3}).removed == 2);
        CHECK(files_like(log.path()) == log.names({2, 3, 4}));
        CHECK(log.keep({.keep_files = 3}).removed == 0);
    }

    TEST_CASE("none is kept for longer than it is to be") {
        const rotated_log log(5);
        CHECK(log.keep({.keep_for = 3h}, 6).removed == 3);
        CHECK(files_like(log.path()) == log.names({3, 4}));
    }

    TEST_CASE("what is to be kept for longer than clocks can tell is kept") {
        const rotated_log log(5);
        CHECK(log.keep({.keep_for = std::chrono::seconds::max()}, 6).removed == 0);
        CHECK(log.keep({.keep_for = std::chrono::years(400)}, 6).removed == 0);
    }

    TEST_CASE("all of them together have as many bytes as they may have") {
        const rotated_log log(5);
        CHECK(log.keep({.keep_bytes = 300}).removed == 2);
        CHECK(files_like(log.path()) == log.names({2, 3, 4}));
        CHECK(log.keep({.keep_bytes = 299}).removed == 1);
    }

    TEST_CASE("each limit holds by itself, and without one all are kept") {
        const rotated_log log(5);
        CHECK(log.keep({}).removed == 0);
        CHECK(log.keep({.keep_files = 4, .keep_for = 7h, .keep_bytes = 250}).removed == 3);
        CHECK(files_like(log.path()) == log.names({3, 4}));
    }

    TEST_CASE("a name of a time to come keeps no file longer than its last line would") {
        const auto far = two_o_clock + std::chrono::years(73);
        for (const int ahead : {0, 2}) { // so many were written to by that clock, too
            CAPTURE(ahead);
            const temporary_directory directory;
            const std::string path = directory / "log";
            for (int i = 0; i < 4; ++i) { // at two o'clock and each full hour behind it
                const std::string name = rotated_name(path, far + i * 1ms);
                fill(name, "text\n");
                const auto written = i < ahead ? log_milliseconds(far) : two_o_clock + i * 1h;
                const auto seconds = written.time_since_epoch() / 1s;
                const timespec times[] = {{.tv_sec = seconds, .tv_nsec = 0},
                                          {.tv_sec = seconds, .tv_nsec = 0}};
                REQUIRE(::utimensat(AT_FDCWD, name.c_str(), times, 0) == 0);
            }
            const auto keep = [&](std::chrono::milliseconds behind) {
                const auto now = two_o_clock + behind;
                return keep_house(path, {.keep_for = 3h}, now, go_on).removed;
            };
            CHECK(keep(3h) == 0);
            // What has a name behind them was written by then.
            CHECK(keep(5h) == (ahead == 0 ? 2 : 0));
            CHECK(keep(5h + 1s) == (ahead == 0 ? 1 : 3));
            CHECK(files_like(path).size() == 1);
            // Since they were rotated, as soon as that has been.
            CHECK(keep_house(path, {.keep_for = 3h}, far + 1h, go_on).removed == 0);
            CHECK(keep_house(path, {.keep_for = 3h}, far + 4h, go_on).removed == 1);
        }
    }

    TEST_CASE("no name goes on behind one of the year 9999, behind which is none") {
        const temporary_directory directory;
        const std::string path = directory / "log";
        fill(path + ".99990101T000000.000Z", "text\n");
        CHECK(!detail::newest_rotated(path));
        fill(path + ".99981231T235959.999Z", "text\n");
        fill(path + ".99991231T235959.999Z", "text\n");
        CHECK(rotated_name(path, *detail::newest_rotated(path)) == path + ".99981231T235959.999Z");
    }

    TEST_CASE("compressed files count as the others, and with what they have") {
        const rotated_log log(3);
        std::filesystem::rename(log.name(0), log.name(0, ".zst"));
        std::filesystem::rename(log.name(1), log.name(1, ".zst"));
        CHECK(log.keep({.keep_files = 2}).removed == 1);
        CHECK(files_like(log.path()) == strings{log.name(1, ".zst"), log.name(2)});
        CHECK(log.keep({.keep_bytes = 199}).removed == 1);
        CHECK(files_like(log.path()) == log.names({2}));
    }

    TEST_CASE("nothing is removed that the log has not made") {
        const rotated_log log(2);
        fill(log.path(), "present\n");
        fill(log.path() + ".1", "theirs");
        fill(log.name(0, ".gz"), "theirs");
        fill(log.directory() / "other.20261126T140000.000Z", "theirs");
        std::filesystem::create_directory(log.name(5));
        std::filesystem::create_symlink(log.path(), log.name(6));
        CHECK(log.keep({.keep_for = 1s}, 1000).removed == 2);
        CHECK(files_like(log.path()) ==
              strings{log.path() + ".1", log.name(0, ".gz"), log.name(5), log.name(6)});
        CHECK(contents_of(log.path()) == "present\n");
        CHECK(contents_of(log.directory() / "other.20261126T140000.000Z") == "theirs");
    }

    // --- compression ---

    TEST_CASE("what is not a regular file any more is not compressed, and nobody waits for it") {
        if (!has_zstd()) {
            return;
        }
        const rotated_log log(0);
        REQUIRE(::mkfifo(log.name(0).c_str(), 0600) == 0);
        const owned_fd directory(
            ::open((log.directory() / "").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE(directory.is_open());
        const std::string name = std::filesystem::path(log.name(0)).filename();
        CHECK_THROWS_WITH_AS(
            (void)detail::compress_file(directory.fd(), name, 3, std::atomic<bool>(false)),
            doctest::Contains("not a regular file"), std::system_error);
    }

    TEST_CASE("a compressed file has the same lines, permissions and time, and the original goes") {
        if (!has_zstd()) {
            return;
        }
        const rotated_log log(0);
        std::string text;
        while (text.size() < 1'000'000) {
            text += numbers(static_cast<int>(text.size()), static_cast<int>(text.size()) + 1000);
        }
        fill(log.name(0), text);
        fill(log.name(1), "");
        std::filesystem::permissions(log.name(0), std::filesystem::perms(0640));
        std::filesystem::last_write_time(
            log.name(0), std::filesystem::file_time_type::clock::from_sys(two_o_clock - 24h));
        const auto report = log.keep({.compress = true});
        CHECK(report.failures == strings{});
        CHECK(report.compressed == 2);
        CHECK(files_like(log.path()) == strings{log.name(0, ".zst"), log.name(1, ".zst")});
        CHECK(std::filesystem::file_size(log.name(0, ".zst")) < text.size() / 4);
        CHECK(decompressed(log.name(0, ".zst")) == text);
        CHECK(decompressed(log.name(1, ".zst")).empty());
        CHECK(std::filesystem::status(log.name(0, ".zst")).permissions() ==
              std::filesystem::perms(0640));
        CHECK(std::filesystem::file_time_type::clock::to_sys(
                  std::filesystem::last_write_time(log.name(0, ".zst"))) == two_o_clock - 24h);
    }

    TEST_CASE("a compressed file that cannot have its file's group is for nobody new") {
        if (!detail::can_compress() || ::geteuid() != 0) {
            MESSAGE("skipped: needs zstd, and root, who may become somebody else");
            return;
        }
        constexpr uid_t nobody = 65'534;
        constexpr gid_t adm = 4;
        const rotated_log log(4);
        const mode_t modes[] = {0640, 0644, 0604, 0664};
        for (int i = 0; i < 4; ++i) {
            REQUIRE(::chown(log.name(i).c_str(), nobody, adm) == 0);
            REQUIRE(::chmod(log.name(i).c_str(), modes[i]) == 0);
        }
        REQUIRE(::chown((log.directory() / ".").c_str(), nobody, nobody) == 0);
        CHECK(test::in_child([&]() -> std::string {
                  if (::setgroups(0, nullptr) != 0 || ::setgid(nobody) != 0 ||
                      ::setuid(nobody) != 0) {
                      return "could not become nobody";
                  }
                  std::string told;
                  for (const auto& each : log.keep({.compress = true}).for_fewer) {
                      told += log.name(3, ".zst").ends_with(each) ? "the last" : "+";
                  }
                  return told;
              }) == "+++the last");
        const mode_t expected[] = {0600, 0644, 0600, 0644};
        for (int i = 0; i < 4; ++i) {
            struct ::stat status {};

            REQUIRE(::stat(log.name(i, ".zst").c_str(), &status) == 0);
            CHECK(status.st_gid == nobody);
            CHECK((status.st_mode & 07777) == expected[i]);
        }
    }

    TEST_CASE("a compressed file has its file's access control list, and not its directory's") {
        if (!detail::can_compress()) {
            return;
        }
        const rotated_log log(2);
        const auto set_list = [](const std::string& path, const char* kind) {
            // Version 2, then entries of tag, permissions, id; little-endian, as the kernel has it.
            constexpr unsigned char list[] = {
                2,    0, 0, 0,                         //
                0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, // the owner: rw
                0x02, 0, 4, 0, 0x39, 0x30, 0,    0,    // the user 12345: r
                0x04, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // the group: nothing
                0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, // all named ones: r at most
                0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, // others: nothing
            };
            return ::setxattr(path.c_str(), kind, list, sizeof(list), 0) == 0;
        };
        const auto has_list = [](const std::string& path) {
            return ::getxattr(path.c_str(), "system.posix_acl_access", nullptr, 0) > 0;
        };
        if (!set_list(log.name(0), "system.posix_acl_access") ||
            !set_list(log.directory() / ".", "system.posix_acl_default")) {
            MESSAGE("skipped: the file system has no access control lists");
            return;
        }
        REQUIRE(has_list(log.name(0)));
        REQUIRE(!has_list(log.name(1)));
        std::filesystem::permissions(log.name(1), std::filesystem::perms(0640));
        const auto report = log.keep({.compress = true});
        CHECK(report.failures == strings{});
        CHECK(report.for_fewer == strings{});
        CHECK(has_list(log.name(0, ".zst")));
        CHECK_FALSE(has_list(log.name(1, ".zst")));
        for (const int i : {0, 1}) { // the group's stand for the list's limit
            CHECK(std::filesystem::status(log.name(i, ".zst")).permissions() ==
                  std::filesystem::perms(0640));
        }
    }

    TEST_CASE("an original goes when the compressed file and its name survive the machine") {
        if (!detail::can_compress()) {
            return;
        }
        const rotated_log log(1);
        strings names{log.name(0)};
        synced = &names;
        const auto report = log.keep({.compress = true});
        synced = nullptr;
        CHECK(report.compressed == 1);
        const std::string original = log.name(0);
        const std::string directory = original.substr(0, original.rfind('/'));
        CHECK(names == strings{original, original.substr(directory.size() + 1) + ".zst.tmp+",
                               directory.substr(directory.rfind('/') + 1) + "+"});
    }

    TEST_CASE("a compression that was broken off at any step is taken up again") {
        if (!has_zstd()) {
            return;
        }
        const rotated_log log(3);
        const std::string text = contents_of(log.name(0));
        fill(log.name(0, ".zst.tmp"), "half of"); // killed while it was written
        fill(log.name(1, ".zst"), "whole");       // killed before the original was removed
        fill(log.name(7, ".zst.tmp"), "its original is gone");
        const auto report = log.keep({.compress = true});
        CHECK(report.failures == strings{});
        CHECK(files_like(log.path()) ==
              strings{log.name(0, ".zst"), log.name(1, ".zst"), log.name(2, ".zst")});
        CHECK(decompressed(log.name(0, ".zst")) == text);
        CHECK(decompressed(log.name(1, ".zst")) == std::string(99, 'b') + "\n");
    }

    TEST_CASE("a compression that is stopped leaves everything as it was") {
        if (!detail::can_compress()) {
            return;
        }
        const rotated_log log(2);
        const auto report = keep_house(log.path(), {.compress = true}, two_o_clock, stop);
        CHECK(report.compressed == 0);
        CHECK(report.failures == strings{});
        CHECK(files_like(log.path()) == log.names({0, 1}));
    }

    TEST_CASE("a file that cannot be compressed stays as it is, and is told; the others are") {
        if (!detail::can_compress()) {
            return;
        }
        const rotated_log log(2);
        std::filesystem::create_directory(log.name(0, ".zst.tmp")); // in the way
        const auto report = log.keep({.compress = true});
        REQUIRE(report.failures.size() == 1);
        CHECK(report.failures[0].find("cannot compress " + log.name(0)) == 0);
        CHECK(report.compressed == 1);
        CHECK(contents_of(log.name(0)) == std::string(99, 'a') + "\n");
        CHECK(std::filesystem::exists(log.name(1, ".zst")));
        CHECK(!std::filesystem::exists(log.name(1)));
    }

    TEST_CASE("a file that cannot be locked is not compressed, and told") {
        if (!detail::can_compress()) {
            return;
        }
        const rotated_log log(1);
        const auto told = test::in_child([&]() -> std::string {
            std::array filter{
                sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_flock, 0, 1),
                sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLCK),
                sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            const sock_fprog program{.len = static_cast<unsigned short>(filter.size()),
                                     .filter = filter.data()};
            if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
                ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
                return "no filters here";
            }
            const auto report = log.keep({.compress = true});
            return report.failures.size() == 1 ? report.failures[0] : "nothing is told";
        });
        if (told == "no filters here") {
            MESSAGE("skipped: seccomp filters are forbidden here");
            return;
        }
        CHECK(told == doctest::Contains("cannot lock"));
        CHECK(std::filesystem::exists(log.name(0)));
        CHECK(!std::filesystem::exists(log.name(0, ".zst")));
    }

    TEST_CASE("a file that a child may still write to is compressed later") {
        if (!detail::can_compress()) {
            return;
        }
        const rotated_log log(2);
        {
            const int childs = ::open(log.name(0).c_str(), O_WRONLY | O_CLOEXEC);
            REQUIRE(::flock(childs, LOCK_EX | LOCK_NB) == 0);
            const auto report = log.keep({.compress = true});
            CHECK(report.compressed == 1);
            CHECK(report.failures == strings{});
            CHECK(std::filesystem::exists(log.name(0)));
            ::close(childs);
        }
        CHECK(log.keep({.compress = true}).compressed == 1);
        CHECK(files_like(log.path()) == strings{log.name(0, ".zst"), log.name(1, ".zst")});
    }

    // --- as a log has it done ---

    CO_TEST_CASE("a log compresses what it has rotated, and keeps as many as it is to keep") {
        if (!has_zstd()) {
            co_return;
        }
        const rotated_log log(3); // of an earlier run
        rotating_log_sink sink(
            {.path = log.path(), .bytes_max = 20, .keep_files = 2, .compress = true, .now = [] {
                 return two_o_clock + 24h;
             }});
        co_await sink.open();
        co_await put(sink, numbers(1, 1));
        co_await sink.housekeeping();
        CHECK(files_like(log.path()) == strings{log.name(1, ".zst"), log.name(2, ".zst")});
        co_await put(sink, numbers(2, 3));
        co_await sink.housekeeping();
        CHECK(files_like(log.path()) == strings{log.name(2, ".zst"), log.name(24, ".zst")});
        CHECK(decompressed(log.name(24, ".zst")) == numbers(1, 2));
        CHECK(contents_of(log.path()) == numbers(3, 3));
        CHECK(sink.counts().removed == 2);
        CHECK(sink.counts().compressed == 3);
        co_await sink.close();
    }

    CO_TEST_CASE("what a log cannot compress it tells, and goes on") {
        if (!detail::can_compress()) {
            co_return;
        }
        const rotated_log log(1);
        std::filesystem::create_directory(log.name(0, ".zst.tmp"));
        rotating_log_sink sink({.path = log.path(), .compress = true});
        co_await sink.open();
        co_await put(sink, "one\n");
        co_await sink.housekeeping();
        co_await put(sink, "two\n");
        const auto text = contents_of(log.path());
        CAPTURE(text);
        CHECK(text.starts_with("one\n# cannot compress " + log.name(0)));
        CHECK(text.ends_with("tried again after the next rotation\ntwo\n"));
        co_await sink.close();
    }

    CO_TEST_CASE("a directory that is gone does not end a log that looks after its files") {
        const temporary_directory directory;
        const auto folder = directory / "folder";
        std::filesystem::create_directory(folder);
        rotating_log_sink sink({.path = folder + "/log", .keep_files = 1});
        co_await sink.open();
        std::filesystem::rename(folder, directory / "moved");
        co_await put(sink, "one\n");
        co_await sink.housekeeping();
        co_await put(sink, "two\n");
        CHECK(contents_of(directory / "moved/log").find("are not looked after") !=
              std::string::npos);
        co_await sink.close();
    }
}
