// receipt_board: who waits for a place in the log is told when it is reached, lost, or over, and
// not before.
#include "support/allocations.hpp"

#include <sapwood/receipts.hpp>

#include <doctest/doctest.h>
#include <optional>
#include <string>
#include <system_error>

namespace {

using sapwood::errc;
using sapwood::lsn;
using sapwood::detail::lsn_range;
using sapwood::detail::receipt_board;
using sapwood::detail::receipt_waiter;

/// Waits on a board without a task.
class probe final : public receipt_waiter {
  public:
    probe(receipt_board& board, std::uint64_t place) : receipt_waiter(lsn{place}), board_(board) {
        board.add(*this);
    }

    void settled(std::error_code how) noexcept override { outcome_ = how; }

    void cancel() noexcept override {
        board_.remove(*this);
        outcome_ = std::make_error_code(std::errc::operation_canceled);
    }

    [[nodiscard]] std::string describe() const override { return "probe"; }

    /// Empty while it waits, "ok", or why not.
    [[nodiscard]] std::string outcome() const {
        return !outcome_ ? "" : *outcome_ ? outcome_->message() : "ok";
    }

  private:
    receipt_board& board_;
    std::optional<std::error_code> outcome_;
};

const std::string lost = std::error_code(errc::lost).message();

bool is_lost(const receipt_board& board, std::uint64_t place) {
    return board.is_settled(lsn{place}) && board.outcome(lsn{place}) == errc::lost;
}

} // namespace

TEST_SUITE("receipts") {
    TEST_CASE("who waits is told when his place is reached, in whatever order they came") {
        receipt_board board(lsn{10});
        probe third(board, 13);
        probe first(board, 11);
        probe second(board, 12);
        board.reach(lsn{11});
        CHECK(first.outcome() == "ok");
        CHECK(second.outcome() == "");
        board.reach(lsn{13});
        CHECK(second.outcome() == "ok");
        CHECK(third.outcome() == "ok");
        CHECK(!board.has_waiters());
    }

    TEST_CASE("what is reached is settled at once, and the next is not") {
        const receipt_board board(lsn{10});
        CHECK(board.is_settled(lsn{10}));
        CHECK(board.outcome(lsn{10}) == std::error_code());
        CHECK(!board.is_settled(lsn{11}));
    }

    TEST_CASE(
        "who waits for what is lost is told at once, from the first to the last, and no other") {
        receipt_board board;
        probe before(board, 4);
        probe first(board, 5);
        probe last(board, 7);
        probe after(board, 8);
        board.lose({lsn{5}, lsn{7}});
        CHECK(first.outcome() == lost);
        CHECK(last.outcome() == lost);
        CHECK(before.outcome() == "");
        CHECK(after.outcome() == "");
        board.reach(lsn{8});
        CHECK(before.outcome() == "ok");
        CHECK(after.outcome() == "ok");
    }

    TEST_CASE("what was lost stays so when the log has got further") {
        receipt_board board;
        board.lose({lsn{5}, lsn{7}});
        board.reach(lsn{9});
        CHECK(!is_lost(board, 4));
        CHECK(is_lost(board, 5));
        CHECK(is_lost(board, 7));
        CHECK(!is_lost(board, 8));
        CHECK(board.outcome(lsn{8}) == std::error_code());
    }

    TEST_CASE("of two losses with something between, that is not lost") {
        receipt_board board;
        board.lose({lsn{5}, lsn{5}});
        board.lose({lsn{7}, lsn{7}});
        board.reach(lsn{9});
        CHECK(is_lost(board, 5));
        CHECK(!is_lost(board, 6));
        CHECK(is_lost(board, 7));
    }

    TEST_CASE(
        "losses that follow each other are one, however many: none before them is forgotten") {
        receipt_board board;
        board.lose({lsn{1}, lsn{1}});
        for (std::uint64_t place = 10; place < 1000; ++place) {
            board.lose({lsn{place}, lsn{place}});
        }
        board.reach(lsn{2000});
        CHECK(is_lost(board, 1));
        CHECK(!is_lost(board, 2));
        CHECK(!is_lost(board, 9));
        CHECK(is_lost(board, 10));
        CHECK(is_lost(board, 999));
        CHECK(!is_lost(board, 1000));
    }

    TEST_CASE("past 64 losses the oldest two become one: nothing that was lost counts as kept") {
        receipt_board board;
        constexpr std::uint64_t count = 70;
        for (std::uint64_t i = 1; i <= count; ++i) {
            board.lose({lsn{10 * i}, lsn{10 * i + 1}});
            board.reach(lsn{10 * i + 5});
        }
        board.reach(lsn{10'000});
        for (std::uint64_t i = 1; i <= count; ++i) {
            CAPTURE(i);
            CHECK(is_lost(board, 10 * i));
            CHECK(is_lost(board, 10 * i + 1));
        }
        // The newest are kept apart, to the place.
        for (std::uint64_t i = count; i > count - 63; --i) {
            CAPTURE(i);
            CHECK(!is_lost(board, 10 * i - 1));
            CHECK(!is_lost(board, 10 * i + 2));
        }
        CHECK(!is_lost(board, 9));
    }

    TEST_CASE("however many are lost ahead, what is between them is awaited as before") {
        receipt_board board;
        probe between(board, 15);
        for (std::uint64_t i = 1; i <= 200; ++i) {
            board.lose({lsn{10 * i}, lsn{10 * i + 1}});
        }
        CHECK(between.outcome() == "");
        CHECK(!board.is_settled(lsn{25}));
        board.reach(lsn{10'000});
        CHECK(between.outcome() == "ok");
        for (std::uint64_t i = 1; i <= 200; ++i) {
            CAPTURE(i);
            CHECK(is_lost(board, 10 * i));
            CHECK(is_lost(board, 10 * i + 1));
            CHECK(!is_lost(board, 10 * i + 2));
        }
    }

    TEST_CASE("without memory for more losses the newest become one: none counts as kept") {
        receipt_board board;
        for (std::uint64_t i = 1; i <= 64; ++i) {
            board.lose({lsn{10 * i}, lsn{10 * i + 1}});
        }
        {
            const sapwood::test::failing_allocations failing(1);
            board.lose({lsn{650}, lsn{651}});
            CHECK(failing.struck());
        }
        CHECK(is_lost(board, 640));
        CHECK(is_lost(board, 645));
        CHECK(is_lost(board, 651));
        CHECK(!is_lost(board, 635));
    }

    TEST_CASE("the end tells everybody why, but those whose place was reached before") {
        receipt_board board;
        probe reached(board, 1);
        probe waiting(board, 2);
        board.reach(lsn{1});
        board.end(std::make_error_code(std::errc::io_error));
        CHECK(reached.outcome() == "ok");
        CHECK(waiting.outcome() == "Input/output error");
        CHECK(board.outcome(lsn{1}) == std::error_code());
        CHECK(board.is_settled(lsn{3}));
        CHECK(board.outcome(lsn{3}) == std::errc::io_error);
        CHECK(!board.has_waiters());
    }

    TEST_CASE("a board that goes cancels who still waits") {
        std::optional<receipt_board> board(std::in_place);
        probe one(*board, 1);
        probe two(*board, 2);
        board.reset();
        CHECK(one.outcome() == "Operation canceled");
        CHECK(two.outcome() == "Operation canceled");
    }
}
