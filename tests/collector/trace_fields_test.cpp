// trace_fields: records say which trace their request belongs to.
#include "collector/trace_fields.hpp"

#include <doctest/doctest.h>
#include <string>
#include <vector>

namespace {

using namespace sapwood;
using namespace sapwood::collector;

constexpr std::string_view header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
constexpr std::string_view members =
    R"("trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331"})";

std::vector<std::string> added(const std::vector<std::string>& records,
                               std::string_view traceparent) {
    trace_fields made;
    std::vector<json_item> items;
    for (const std::string& each : records) {
        items.push_back({level::warning, each});
    }
    std::vector<std::string> told;
    for (const json_item& each : made.added_to(items, traceparent)) {
        CHECK(each.importance == level::warning);
        told.emplace_back(each.json);
    }
    return told;
}

} // namespace

TEST_SUITE("trace_fields") {

    TEST_CASE("a record without a trace has its request's, behind its own members") {
        const std::string end(members);
        CHECK(added({R"({"msg":"a"})", "{}", "{ }", R"({"o":{"x":[1]} } )"}, header) ==
              std::vector<std::string>{R"({"msg":"a",)" + end, "{" + end, "{" + end,
                                       R"({"o":{"x":[1]},)" + end});
    }

    TEST_CASE("a record that has a trace keeps it, and what is no header changes nothing") {
        const std::vector<std::string> own{R"({"trace_id":"mine"})"};
        CHECK(added(own, header) == own);
        const std::vector<std::string> plain{R"({"msg":"a"})"};
        CHECK(added(plain, "") == plain);
        CHECK(added(plain, "00-00000000000000000000000000000000-b7ad6b7169203331-01") == plain);
        CHECK(added(plain, std::string(header) + "-00") == plain);
    }
}
