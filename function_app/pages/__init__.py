"""The pages for approvers: plain HTML that works without JavaScript, under a policy that allows none."""
