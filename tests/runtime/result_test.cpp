// result<T> and as_result: outcomes that are not thrown.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/file.hpp>
#include <sapwood/result.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <memory>
#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::as_result;
using sapwood::result;
using sapwood::task;
using sapwood::test::last_words;

const std::error_code broken = std::make_error_code(std::errc::broken_pipe);

} // namespace

TEST_SUITE("result") {

    TEST_CASE("a result holds its value and no error") {
        result<std::string> text(std::string("seven"));
        CHECK(text.has_value());
        CHECK(static_cast<bool>(text));
        CHECK_FALSE(text.error());
        CHECK(text.value() == "seven");
        CHECK(*text == "seven");
        CHECK(text->size() == 5);
    }

    TEST_CASE("a result holds its error, which value() throws") {
        result<int> failed(broken);
        CHECK_FALSE(failed.has_value());
        CHECK(failed.error() == std::errc::broken_pipe);
        std::error_code thrown;
        try {
            (void)failed.value();
        } catch (const std::system_error& failure) {
            thrown = failure.code();
        }
        CHECK(thrown == broken);
    }

    TEST_CASE("a result without a type is success or an error") {
        const result<void> good;
        CHECK(good.has_value());
        CHECK_NOTHROW(good.value());
        CHECK_FALSE(good.error());
        const result<void> failed(broken);
        CHECK_FALSE(failed.has_value());
        CHECK_THROWS_AS(failed.value(), std::system_error);
    }

    TEST_CASE("a result can hold what only moves, and hands it out") {
        result<std::unique_ptr<int>> made(std::make_unique<int>(7));
        const std::unique_ptr<int> taken = *std::move(made);
        CHECK(*taken == 7);
    }

    TEST_CASE("using the value of a failed result hits the assertion") {
        CHECK(last_words([] {
                  result<int> failed(broken);
                  *failed = 1;
              }) == doctest::Contains("a result that holds an error was used"));
    }

    TEST_CASE("a result made from success without a value hits the assertion") {
        CHECK(last_words([] { result<int> nothing{std::error_code()}; }) ==
              doctest::Contains("an error code that means success"));
    }

    CO_TEST_CASE("as_result of an operation gives its value or its error and throws nothing") {
        const sapwood::test::temporary_directory directory;
        sapwood::test::fill(directory / "file", "text");
        auto opened = co_await as_result(sapwood::file::open(directory / "file"));
        REQUIRE(opened.has_value());
        CHECK(opened->is_open());
        const auto missing = co_await as_result(sapwood::file::open(directory / "missing"));
        CHECK(missing.error() == std::errc::no_such_file_or_directory);
    }

    CO_TEST_CASE("as_result of sends and receives gives items and reasons") {
        sapwood::channel<int> queue(1);
        CHECK((co_await as_result(queue.send(1))).has_value());
        CHECK(*co_await as_result(queue.send_for(2, 1s)) == false);
        CHECK(*co_await as_result(queue.receive()) == 1);
        CHECK_FALSE((*co_await as_result(queue.receive_for(1s))).has_value());
        CHECK(*co_await as_result(queue.send_for(3, 1s)) == true);
        CHECK(**co_await as_result(queue.receive_for(1s)) == 3);
        CHECK((co_await as_result(queue.send(4))).has_value());
        std::vector<int> out;
        CHECK(*co_await as_result(queue.receive_many(out, 5)) == 1);
        queue.task_done(3);
        CHECK((co_await as_result(queue.join())).has_value());
        queue.close(broken);
        CHECK((co_await as_result(queue.send(5))).error() == broken);
        CHECK((co_await as_result(queue.send_for(5, 1s))).error() == broken);
        CHECK((co_await as_result(queue.receive())).error() == broken);
        CHECK((co_await as_result(queue.receive_for(1s))).error() == broken);
        CHECK((co_await as_result(queue.receive_many(out, 5))).error() == broken);
    }

    CO_TEST_CASE("as_result turns a cancellation into operation_canceled, delivered once") {
        sapwood::channel<int> queue(1);
        co_await queue.send(0);
        sapwood::channel<int> nothing(1);
        std::vector<std::error_code> seen;
        bool slept = false;
        auto wait_in_every_form = [&]() -> task<> {
            std::vector<int> out;
            seen.push_back((co_await as_result(nothing.receive())).error());
            seen.push_back((co_await as_result(nothing.receive_for(9h))).error());
            seen.push_back((co_await as_result(nothing.receive_many(out, 1))).error());
            seen.push_back((co_await as_result(queue.send(1))).error());
            seen.push_back((co_await as_result(queue.send_for(1, 9h))).error());
            seen.push_back((co_await as_result(queue.join())).error());
            co_await sapwood::sleep_for(1s); // no request is left over
            slept = true;
        };
        auto handle = sapwood::spawn(wait_in_every_form());
        for (int form = 0; form < 6; ++form) {
            co_await sapwood::yield();
            handle.cancel();
        }
        co_await handle;
        CHECK(slept);
        REQUIRE(seen.size() == 6);
        for (const auto& code : seen) {
            CHECK(code == std::errc::operation_canceled);
        }
        (void)queue.try_receive();
        queue.task_done();
    }
}
