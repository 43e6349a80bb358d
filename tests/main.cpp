// The main of every test program. Beyond doctest's own it holds two lines of defence: a run that
// selects no case fails, so a misspelt suite cannot pass unnoticed, and the last line counts the
// selected suite alone, where doctest also counts every case of the others as skipped. A case that
// finds out when it runs that it cannot says `MESSAGE("skipped: " << why)` and returns, and counts
// as skipped, not as passed.
//
// With SAPWOOD_TEST_EXPECT_NONE set, a run fails if it selects a case: the build asks so whether
// a case belongs to no listed suite.
#define DOCTEST_CONFIG_IMPLEMENT
#include "support/forked_allocator.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <iostream>
#include <string_view>

/// Asked by ThreadSanitizer. tzset(3) takes a lock that is the C library's own, which TSan does not
/// see.
extern "C" const char* __tsan_default_suppressions();

extern "C" const char* __tsan_default_suppressions() {
    return "race:tzset\n";
}

namespace {

const bool expect_none = std::getenv("SAPWOOD_TEST_EXPECT_NONE") != nullptr;

unsigned cases_selected = 0;
std::string_view suite_selected;

class totals : public doctest::IReporter {
  public:
    explicit totals(const doctest::ContextOptions&) {}

    void test_case_skipped(const doctest::TestCaseData& test_case) override {
        if (test_case.m_skip && !expect_none &&
            (suite_selected.empty() || suite_selected == test_case.m_test_suite)) {
            ++skipped_;
        }
    }

    void test_run_end(const doctest::TestRunStats& stats) override {
        cases_selected = stats.numTestCasesPassingFilters;
        std::cout << "[sapwood] " << cases_selected - stats.numTestCasesFailed - ran_in_vain_
                  << " passed, " << stats.numTestCasesFailed << " failed, "
                  << skipped_ + ran_in_vain_ << " skipped\n";
    }

    void report_query(const doctest::QueryData&) override {}

    void test_run_start() override {}

    void test_case_start(const doctest::TestCaseData&) override { says_skipped_ = false; }

    void test_case_reenter(const doctest::TestCaseData&) override {}

    void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
        ran_in_vain_ += says_skipped_ && stats.testCaseSuccess ? 1 : 0;
    }

    void test_case_exception(const doctest::TestCaseException&) override {}

    void subcase_start(const doctest::SubcaseSignature&) override {}

    void subcase_end() override {}

    void log_assert(const doctest::AssertData&) override {}

    void log_message(const doctest::MessageData& message) override {
        if (std::string_view(message.m_string.c_str()).starts_with("skipped: ")) {
            says_skipped_ = true;
        }
    }

  private:
    unsigned skipped_ = 0;
    unsigned ran_in_vain_ = 0;
    std::atomic<bool> says_skipped_ = false;
};

REGISTER_LISTENER("totals", 1, totals);

} // namespace

int main(int argc, char** argv) {
    constexpr std::string_view option = "--test-suite=";
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument.starts_with(option)) {
            suite_selected = argument.substr(option.size());
        }
    }

    (void)sapwood::test::children_can_allocate(); // its handlers are linked
    doctest::Context context{argc, argv};
    const int failed = context.run();
    if (context.shouldExit()) {
        return failed;
    }

    if (expect_none && cases_selected != 0) {
        std::cout << "These cases are in no suite that tests/meson.build lists.\n";
        return EXIT_FAILURE;
    }
    if (!expect_none && cases_selected == 0) {
        std::cout << "No case was selected: does the file's TEST_SUITE have the file's name?\n";
        return EXIT_FAILURE;
    }
    return failed;
}
