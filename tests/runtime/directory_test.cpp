// directory, and the calls by path: what they make, remove, rename and list, here and from a
// directory that is open.
#include "uring_ring.hpp"

#include "support/allocations.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/run.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/whole_file.hpp>

#include <algorithm>
#include <doctest/doctest.h>
#include <functional>
#include <new>
#include <sys/stat.h>
#include <vector>

namespace {

using sapwood::as_result;
using sapwood::at_symlink;
using sapwood::directory;
using sapwood::directory_entry;
using sapwood::directory_reader;
using sapwood::task;
using sapwood::when_taken;
using sapwood::test::contents_of;
using sapwood::test::fill;
using sapwood::test::temporary_directory;

task<std::vector<std::string>> names_in(directory& folder) {
    std::vector<std::string> names;
    directory_reader reader(folder);
    while (const auto entry = co_await reader.next()) {
        names.push_back(entry->name);
    }
    std::ranges::sort(names);
    co_return names;
}

/// What `attempt` fails with.
template <class Attempt>
task<std::string> failure_of(Attempt attempt) {
    try {
        co_await attempt();
    } catch (const std::system_error& failure) {
        co_return failure.what();
    }
    co_return "it did not fail";
}

task<> use_a_directory(const temporary_directory& in) {
    co_await sapwood::make_directory(in / "a");
    directory folder = co_await directory::open(in / "a");
    co_await folder.make_directory("b", 0750);
    {
        auto made = co_await folder.open_file("b/oak", {.flags = O_WRONLY | O_CREAT});
        co_await made.write_all(std::string_view("heartwood"));
        co_await made.close();
    }
    // The directory is another one by name, and still the same.
    co_await sapwood::rename_file(in / "a", in / "c");
    co_await folder.link("b/oak", "ash");
    co_await folder.make_symlink("ash", "elm");
    CHECK(contents_of(in / "c/elm") == "heartwood");

    const auto linked = co_await folder.status_of("elm");
    CHECK(linked.is_regular());
    CHECK(linked.size == 9);
    CHECK(linked.links == 2);
    const auto link = co_await folder.status_of("elm", at_symlink::stay);
    CHECK(link.is_symlink());
    const auto made = co_await folder.status_of("b");
    CHECK(made.is_directory());
    CHECK((made.mode & 07777) == 0750);

    const auto taken = co_await as_result(folder.rename("b/oak", "elm", when_taken::refuse));
    CHECK(taken.error() == std::errc::file_exists);
    directory inner = co_await folder.open_directory("b");
    co_await folder.rename("elm", inner, "elm");
    co_await folder.remove_file("ash");
    co_await folder.sync();
    const std::vector<std::string> left{"b"};
    const auto names = co_await names_in(folder);
    CHECK((names == left));
    const std::vector<std::string> moved{"elm", "oak"};
    const auto inner_names = co_await names_in(inner);
    CHECK((inner_names == moved));
    co_await inner.remove_file("elm");
    co_await inner.remove_file("oak");
    co_await inner.close();
    co_await folder.remove_directory("b");
    co_await folder.close();
    co_await sapwood::remove_directory(in / "c");
}

} // namespace

TEST_SUITE("directory") {

    TEST_CASE("files are made, linked, moved and removed from an open directory") {
        const temporary_directory in;
        sapwood::run(use_a_directory(in));
        CHECK(std::filesystem::is_empty(in / "."));
    }

    TEST_CASE("on a kernel whose ring knows none of it too") {
        sapwood::uring_ring::options old;
        for (const auto opcode :
             {IORING_OP_RENAMEAT, IORING_OP_UNLINKAT, IORING_OP_MKDIRAT, IORING_OP_SYMLINKAT,
              IORING_OP_LINKAT, IORING_OP_OPENAT2, IORING_OP_STATX, IORING_OP_FSYNC}) {
            old.opcodes_withheld |= std::uint64_t{1} << opcode;
        }
        std::unique_ptr<sapwood::uring_ring> ring;
        try {
            ring = std::make_unique<sapwood::uring_ring>(old);
        } catch (const std::system_error& refused) {
            MESSAGE("skipped: " << refused.what());
            return;
        }
        const temporary_directory in;
        sapwood::event_loop loop(std::move(ring));
        loop.run(use_a_directory(in));
        CHECK(std::filesystem::is_empty(in / "."));
    }

    TEST_CASE("the same by paths") {
        const temporary_directory in;
        fill(in / "oak", "wood");
        sapwood::run([](const temporary_directory& at) -> task<> {
            co_await sapwood::link_file(at / "oak", at / "ash");
            co_await sapwood::make_symlink("oak", at / "elm");
            const auto file = co_await sapwood::status_of(at / "elm");
            CHECK(file.size == 4);
            const auto link = co_await sapwood::status_of(at / "elm", at_symlink::stay);
            CHECK(link.is_symlink());
            const auto taken = co_await as_result(
                sapwood::rename_file(at / "oak", at / "elm", when_taken::refuse));
            CHECK(taken.error() == std::errc::file_exists);
            co_await sapwood::rename_file(at / "oak", at / "elm");
            co_await sapwood::remove_file(at / "elm");
            co_await sapwood::remove_file(at / "ash");
        }(in));
        CHECK(std::filesystem::is_empty(in / "."));
    }

    TEST_CASE("a path from somebody else cannot lead out of its directory") {
        const temporary_directory in;
        fill(in / "secret", "key");
        ::mkdir((in / "public").c_str(), 0700);
        fill(in / "public/page", "text");
        sapwood::run([](const temporary_directory& at) -> task<> {
            directory folder = co_await directory::open(at / "public");
            co_await folder.make_symlink("../secret", "trap");
            for (const std::string path : {"../secret", "trap", "/etc/passwd"}) {
                const auto opened = co_await as_result(folder.open_file(path, {.beneath = true}));
                CAPTURE(path);
                CHECK(opened.error() == std::errc::cross_device_link);
            }
            auto page = co_await folder.open_file("page", {.beneath = true});
            CHECK(page.is_open());
            auto fresh = co_await folder.open_file(
                "fresh", {.flags = O_WRONLY | O_CREAT | O_EXCL, .mode = 0640, .beneath = true});
            const auto status = co_await fresh.stat();
            CHECK((status.mode & 07777) == 0640);
            auto trapped = co_await folder.open_file("trap");
            CHECK(trapped.is_open());
        }(in));
    }

    TEST_CASE("a directory of many entries is read in pieces, each entry once, with its kind") {
        const temporary_directory in;
        constexpr int many = 3000; // several buffers of them
        for (int i = 0; i < many; ++i) {
            fill(in / ("a-name-that-is-long-enough-" + std::to_string(i)), "");
        }
        ::mkdir((in / "folder").c_str(), 0700);
        sapwood::run([](const temporary_directory& at) -> task<> {
            directory folder = co_await directory::open(at / ".");
            const auto names = co_await names_in(folder);
            CHECK(names.size() == many + 1);
            CHECK((std::ranges::adjacent_find(names) == names.end()));
            // Two readers do not disturb each other.
            directory_reader one(folder);
            directory_reader other(folder);
            const auto first = co_await one.next();
            const auto same = co_await other.next();
            CHECK(first->name == same->name);
            while (const auto entry = co_await one.next()) {
                const bool is_folder = entry->name == "folder";
                if (is_folder != (entry->type == directory_entry::kind::directory)) {
                    CAPTURE(entry->name);
                    CHECK(entry->type == directory_entry::kind::file);
                }
            }
            const auto end = co_await one.next();
            CHECK_FALSE(end.has_value());
        }(in));
    }

    TEST_CASE("a reader for which there was no memory goes on when there is some") {
        const temporary_directory in;
        fill(in / "oak", "");
        sapwood::run([](const temporary_directory& at) -> task<> {
            directory folder = co_await directory::open(at / ".");
            const auto names = co_await names_in(folder); // which starts the pool's thread
            CHECK((names == std::vector<std::string>{"oak"}));
            int failures = 0;
            for (std::size_t nth = 1, failed = 1; failed != 0; ++nth) {
                failed = 0;
                directory_reader reader(folder);
                try {
                    const sapwood::test::failing_allocations failing(nth);
                    (void)co_await reader.next();
                } catch (const std::bad_alloc&) {
                    failed = 1;
                }
                if (failed != 0) {
                    ++failures;
                    const auto entry = co_await reader.next();
                    CHECK(entry->name == "oak");
                }
            }
            CHECK(failures >= 1);
        }(in));
    }

    TEST_CASE("what fails says what was tried on what") {
        const temporary_directory in;
        sapwood::run([](const temporary_directory& at) -> task<> {
            directory here = co_await directory::open(at / ".");
            std::string why = co_await failure_of([&] { return here.remove_file("oak"); });
            CHECK(why == "cannot remove oak: No such file or directory");
            why = co_await failure_of([&] { return here.remove_directory("oak"); });
            CHECK(why == "cannot remove the directory oak: No such file or directory");
            why = co_await failure_of([&] { return here.rename("oak", "ash"); });
            CHECK(why == "cannot rename oak to ash: No such file or directory");
            why = co_await failure_of([&] { return here.link("oak", "ash"); });
            CHECK(why == "cannot link oak as ash: No such file or directory");
            why = co_await failure_of([&] { return here.make_directory("oak/ash"); });
            CHECK(why == "cannot make the directory oak/ash: No such file or directory");
            why = co_await failure_of([&] { return here.make_symlink("elm", "oak/ash"); });
            CHECK(why == "cannot make the symbolic link oak/ash to elm: No such file or directory");
        }(in));
    }

    TEST_CASE("a path that contains a NUL is refused, and not cut") {
        const temporary_directory in;
        sapwood::run([](const temporary_directory& at) -> task<> {
            const std::string cut("oak\0.jpg", 8);
            const std::string whole = (at / cut);
            directory here = co_await directory::open(at / ".");
            std::string why =
                co_await failure_of([&] { return here.open_file(cut, {.flags = O_CREAT}); });
            CHECK(why == "a path contains a NUL, after oak: Invalid argument");
            why = co_await failure_of([&] { return here.make_directory(cut); });
            CHECK(why == "a path contains a NUL, after oak: Invalid argument");
            why = co_await failure_of([&] { return here.rename("ash", cut); });
            CHECK(why == "a path contains a NUL, after oak: Invalid argument");
            const std::string after_all =
                "a path contains a NUL, after " + (at / "oak") + ": Invalid argument";
            why = co_await failure_of([&] { return sapwood::file::open(whole); });
            CHECK(why == after_all);
            why = co_await failure_of([&] { return sapwood::remove_file(whole); });
            CHECK(why == after_all);
            why = co_await failure_of([&] { return sapwood::read_whole_file(whole); });
            CHECK(why == after_all);
            why = co_await failure_of([&] { return sapwood::read_whole_file(at / "."); });
            CHECK(why == "cannot read " + (at / ".") + ": Is a directory");
        }(in));
    }
}
