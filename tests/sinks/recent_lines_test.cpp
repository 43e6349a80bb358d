// recent_lines: the newest lines, bounded by number and by bytes.
#include <sapwood/recent_lines.hpp>

#include <doctest/doctest.h>
#include <string>

using sapwood::detail::recent_lines;

TEST_SUITE("recent_lines") {

    TEST_CASE("the newest lines are kept, up to a number") {
        recent_lines kept(3, 1'000);
        for (int i = 0; i < 5; ++i) {
            kept.add(std::to_string(i) + "\n");
        }
        CHECK(kept.text() == "2\n3\n4\n");
        CHECK(kept.lines() == 3);
        CHECK(kept.forgotten() == 2);
        kept.clear();
        CHECK(kept.text() == "");
        CHECK(kept.lines() == 0);
        CHECK(kept.forgotten() == 0);
    }

    TEST_CASE("the newest lines are kept, up to a number of bytes") {
        recent_lines kept(1'000, 10);
        kept.add("1234\n");
        kept.add("5678\n");
        CHECK(kept.text() == "1234\n5678\n");
        kept.add("9\n");
        CHECK(kept.text() == "5678\n9\n");
        kept.add("longer than all\n");
        CHECK(kept.text() == "5678\n9\n");
        CHECK(kept.forgotten() == 2);
        for (int i = 0; i < 1'000; ++i) { // memory that was used is used again
            kept.add("abcd\n");
        }
        CHECK(kept.text() == "abcd\nabcd\n");
    }
}
